/** A fixture's repository as files in memory, so that a spec can serve it with something broken. */
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
