/** A fixture's repository as files in memory, so that a spec can serve it with something broken. */
import { createHash } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/** Every file below `folder` by its path there. */
export function readRepository(folder: string): Record<string, Uint8Array> {
  const files: Record<string, Uint8Array> = {}
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    files[path.slice(folder.length + 1).replaceAll('\\', '/')] = new Uint8Array(readFileSync(path))
  }
  return files
}

/** `files` and `files.json`, the list of them, which a host without an API needs. */
export function withFileList(files: Readonly<Record<string, Uint8Array>>): Record<string, Uint8Array> {
  const list = Object.entries(files).map(([path, bytes]) => ({
    path,
    size: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  }))
  return { ...files, 'files.json': new TextEncoder().encode(JSON.stringify({ files: list })) }
}

/** `files` with one JSON file changed. */
export function withJson(
  files: Readonly<Record<string, Uint8Array>>,
  path: string,
  change: (value: Record<string, unknown>) => void,
): Record<string, Uint8Array> {
  const value = JSON.parse(new TextDecoder().decode(files[path])) as Record<string, unknown>
  change(value)
  return { ...files, [path]: new TextEncoder().encode(JSON.stringify(value)) }
}

/** A safetensors file without the tensors whose names match. */
export function withoutTensors(file: Uint8Array | undefined, names: RegExp): Uint8Array {
  if (file === undefined) throw new Error('No such file in the fixture')
  const buffer = Buffer.from(file)
  const begin = 8 + Number(buffer.readBigUInt64LE(0))
  type Header = Record<string, { data_offsets?: [number, number] }>
  const header = JSON.parse(buffer.toString('utf8', 8, begin)) as Header
  const kept: Header = {}
  const parts: Buffer[] = []
  let end = 0
  for (const [name, entry] of Object.entries(header)) {
    if (entry.data_offsets === undefined) kept[name] = entry
    if (entry.data_offsets === undefined || names.test(name)) continue
    const [from, to] = entry.data_offsets
    parts.push(buffer.subarray(begin + from, begin + to))
    kept[name] = { ...entry, data_offsets: [end, (end += to - from)] }
  }
  const json = Buffer.from(JSON.stringify(kept))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  return new Uint8Array(Buffer.concat([length, json, ...parts]))
}

/** A safetensors file with its header changed and its data as it was. */
export function withHeader(
  file: Uint8Array | undefined,
  change: (header: Record<string, { shape: number[]; dtype: string }>) => void,
): Uint8Array {
  if (file === undefined) throw new Error('No such file in the fixture')
  const buffer = Buffer.from(file)
  const end = 8 + Number(buffer.readBigUInt64LE(0))
  const header = JSON.parse(buffer.toString('utf8', 8, end)) as Record<string, { shape: number[]; dtype: string }>
  change(header)
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  return new Uint8Array(Buffer.concat([length, json, buffer.subarray(end)]))
}
