/** For this folder's tests, in Node: a fixture's folder on disk as a repository, its cases and what diffusers computed. */

import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { HubError } from '../errors.js'
import type { ByteSource, Repository } from '../hub/types.js'
import type { CapturedTensors, GenerateOptions, PlainTensor } from './types.js'

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

/** One entry of a fixture's case.json. */
export interface FixtureCase {
  readonly pipeline: string
  readonly prompt: string
  readonly prompt_2: string | null
  readonly negative_prompt: string | null
  readonly seed: number
  readonly num_inference_steps: number
  readonly guidance_scale: number
  readonly height: number
  readonly width: number
  readonly scheduler: string | null
  readonly dtype: string
  readonly extra: Readonly<Record<string, unknown>>
}

/** The cases of a fixture with their references. */
export function readCases(name: string): { readonly item: FixtureCase; readonly reference: CapturedTensors }[] {
  const folder = join(fixtures, name)
  const json = JSON.parse(readFileSync(join(folder, 'case.json'), 'utf8')) as FixtureCase | FixtureCase[]
  return Array.isArray(json)
    ? json.map((item, k) => ({ item, reference: readReference(join(folder, `reference-${k}.safetensors`)) }))
    : [{ item: json, reference: readReference(join(folder, 'reference.safetensors')) }]
}

/** The tensors of a reference file. */
export function readReference(path: string): CapturedTensors {
  const file = readFileSync(path)
  const length = Number(file.readBigUInt64LE(0))
  const header = JSON.parse(file.toString('utf8', 8, 8 + length)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >
  const tensors: Record<string, PlainTensor> = {}
  for (const [name, { dtype, shape, data_offsets: offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue
    if (dtype !== 'F32') throw new Error(`${path} holds ${name} as ${dtype}`)
    const bytes = Uint8Array.from(file.subarray(8 + length + offsets[0], 8 + length + offsets[1]))
    tensors[name] = { dims: shape, data: new Float32Array(bytes.buffer) }
  }
  return tensors
}

const camelCase = (key: string) => key.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())

/** The options of `generate` for a case. `ownScheduler`: the repository's class. */
export function caseOptions(item: FixtureCase, ownScheduler: string): GenerateOptions {
  const { scheduler_config: config, ...rest } = item.extra
  const call = Object.entries(rest).filter(([key, value]) => key !== 'variant' && value !== null)
  return {
    ...(item.prompt_2 === null ? {} : { prompt2: item.prompt_2 }),
    ...(item.negative_prompt === null ? {} : { negativePrompt: item.negative_prompt }),
    ...Object.fromEntries(call.map(([key, value]) => [camelCase(key), value])),
    numInferenceSteps: item.num_inference_steps,
    guidanceScale: item.guidance_scale,
    width: item.width,
    height: item.height,
    seed: item.seed,
    ...(item.scheduler === null && config === undefined
      ? {}
      : { scheduler: { className: item.scheduler ?? ownScheduler, config: (config ?? {}) as Record<string, unknown> } }),
  }
}

/** The worst difference, relative to the reference's largest magnitude; infinite where shapes differ or a value is no number. */
export function relativeError(actual: PlainTensor | undefined, expected: PlainTensor): number {
  if (actual === undefined || actual.dims.join() !== expected.dims.join()) return Infinity
  let worst = 0
  let peak = 0
  for (const [i, value] of expected.data.entries()) {
    const difference = Math.abs((actual.data[i] ?? Number.NaN) - value)
    worst = Number.isNaN(difference) ? Infinity : Math.max(worst, difference)
    peak = Math.max(peak, Math.abs(value))
  }
  return peak === 0 ? worst : worst / peak
}

/** Peak signal-to-noise ratio of images in 0…1, in dB. */
export function psnr(actual: PlainTensor, expected: PlainTensor): number {
  const error =
    expected.data.reduce((sum, value, i) => sum + (value - (actual.data[i] ?? Number.NaN)) ** 2, 0) / expected.data.length
  return -10 * Math.log10(error)
}
