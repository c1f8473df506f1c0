/**
 * Writes the files of a plan into a folder that is not yet the result: each under a temporary name until it is whole, so that a file with
 * its own name is complete, and a second run goes on behind the last one.
 */

import { copyFile, mkdir, open, rename, stat, writeFile, type FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { ShardFile } from './shard-plan.js'

/** Bytes read and written at a time. */
const pieceBytes = 8 << 20

export interface WriteShardOptions {
  readonly signal: AbortSignal
  readonly onBytes: (bytes: number) => void
}

/** Whether a finished file of this length is there. */
export async function isWritten(path: string, byteLength: number): Promise<boolean> {
  const info = await stat(path).catch(() => null)
  return info !== null && info.isFile() && info.size === byteLength
}

/** Streams one shard to `path`, its tensors in the order of their source. */
export async function writeShard(path: string, file: ShardFile, options: WriteShardOptions): Promise<void> {
  await withTemporary(path, async (handle) => {
    await writeAll(handle, file.header, 0)
    options.onBytes(file.header.byteLength)
    // One piece is written while the next one is read.
    let pending: Promise<unknown> = Promise.resolve()
    for (const { entry, begin } of file.tensors) {
      for (let at = entry.begin; at < entry.end; at += pieceBytes) {
        const range = { begin: at, end: Math.min(at + pieceBytes, entry.end) }
        const [bytes] = await Promise.all([entry.source.read(range, { signal: options.signal }), pending])
        pending = writeAll(handle, bytes, begin + at - entry.begin).then(() => options.onBytes(bytes.byteLength))
      }
    }
    await pending
  })
}

/** Writes a small file whole. */
export async function writeText(path: string, text: string): Promise<void> {
  await withTemporary(path, (handle) => handle.writeFile(text))
}

/** Copies a file as it is. */
export async function copyWhole(from: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await copyFile(from, `${path}.part`)
  await rename(`${path}.part`, path)
}

/** The note in an unfinished folder that says what was being written there. */
export function markerOf(folder: string): string {
  return join(folder, '.aquatint-shard.json')
}

export async function writeMarker(folder: string, fingerprint: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  await writeFile(markerOf(folder), fingerprint)
}

async function withTemporary(path: string, body: (handle: FileHandle) => Promise<unknown>): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const handle = await open(`${path}.part`, 'w')
  try {
    await body(handle)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(`${path}.part`, path)
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.byteLength;) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.byteLength - at, position + at)
    at += bytesWritten
  }
}
