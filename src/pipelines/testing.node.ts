/** For this folder's tests, in Node: a fixture's folder on disk as a repository, its cases and what diffusers computed. */

import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { HubError } from '../errors.js'
import type { ByteSource, Repository } from '../hub/types.js'
import { parseReference, type FixtureCase } from './testing-cases.js'
import type { VaeCase } from './testing.js'
import type { CapturedTensors } from './types.js'

export const fixtures = fileURLToPath(new URL('../../fixtures/', import.meta.url))

/** A folder on disk as a repository; `replaced` puts other contents in place of files, or null to hide one. */
export function diskRepository(
  folder: string,
  replaced: Readonly<Record<string, string | Uint8Array | null>> = {},
): Repository & { readonly opened: string[] } {
  const opened: string[] = []
  const content = (path: string): Uint8Array | null | undefined => {
    const value = replaced[path]
    return typeof value === 'string' ? new TextEncoder().encode(value) : value
  }
  const paths = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
  const all = [...new Set([...paths, ...Object.keys(replaced)])].filter((path) => replaced[path] !== null).toSorted()
  return {
    id: folder.split('/').slice(-2).join('/'),
    revision: 'disk',
    opened,
    files: async () => all.map((path) => ({ path, size: content(path)?.byteLength ?? statSync(join(folder, path)).size })),
    open: async (path) => {
      if (!all.includes(path)) throw new HubError('file-not-found', `There is no ${path}.`, { path })
      opened.push(path)
      const bytes = content(path)
      return bytes instanceof Uint8Array ? memory(bytes) : onDisk(join(folder, path))
    },
  }
}

function memory(bytes: Uint8Array): ByteSource {
  return { byteLength: bytes.byteLength, read: async ({ begin, end }) => Uint8Array.from(bytes.subarray(begin, end)) }
}

function onDisk(path: string): ByteSource {
  return {
    byteLength: statSync(path).size,
    read: async ({ begin, end }) => {
      const bytes = new Uint8Array(end - begin)
      const file = openSync(path, 'r')
      try {
        readSync(file, bytes, 0, bytes.byteLength, begin)
      } finally {
        closeSync(file)
      }
      return bytes
    },
  }
}

/** The cases of a fixture with their references. */
export function readCases(name: string): { readonly item: FixtureCase; readonly reference: CapturedTensors }[] {
  const folder = join(fixtures, name)
  const json = JSON.parse(readFileSync(join(folder, 'case.json'), 'utf8')) as FixtureCase | FixtureCase[]
  return Array.isArray(json)
    ? json.map((item, k) => ({ item, reference: readReference(join(folder, `reference-${k}.safetensors`)) }))
    : [{ item: json, reference: readReference(join(folder, 'reference.safetensors')) }]
}

/** The runs of fixtures/vae-tiling, each with its number. */
export function readVaeCases(): { readonly item: VaeCase; readonly k: number }[] {
  const items = JSON.parse(readFileSync(join(fixtures, 'vae-tiling', 'cases.json'), 'utf8')) as VaeCase[]
  return items.map((item, k) => ({ item, k }))
}

/** The tensors of a reference file. */
export function readReference(path: string): CapturedTensors {
  return parseReference(readFileSync(path))
}
