/** For this folder's tests, in Node and in browsers: fixtures on the test server, and measures of the error against diffusers. Not part of the library. */

import { HubError } from '../errors.js'
import type { Repository } from '../hub/types.js'
import { TestSource } from '../runtime/testing.js'
import { parseReference, type FixtureCase } from './testing-cases.js'
import type { CapturedTensors, GenerateOptions, PixelImage, PlainTensor } from './types.js'

async function fetched(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(`/fixtures/${path}`)
  if (!response.ok) throw new HubError('file-not-found', `There is no ${path}.`, { path })
  return new Uint8Array(await response.arrayBuffer())
}

/** A fixture's folder on the test server as a repository. `modules`: `import.meta.glob` of its files, of which only the names are used. */
export function servedRepository(name: string, modules: Readonly<Record<string, unknown>>): Repository {
  const folder = `${name}/repo/`
  const paths = Object.keys(modules).map((path) => path.slice(path.indexOf(folder) + folder.length))
  return {
    id: name,
    revision: 'served',
    files: async () => paths.map((path) => ({ path, size: 0 })),
    open: async (path) => new TestSource(await fetched(folder + path)),
  }
}

/** A case of a fixture on the test server, with its reference. */
export async function fetchCase(
  name: string,
  number = 0,
  kind: 'case' | 'edit' = 'case',
): Promise<{ readonly item: FixtureCase; readonly reference: CapturedTensors }> {
  const items = JSON.parse(new TextDecoder().decode(await fetched(`${name}/${kind}.json`))) as FixtureCase[]
  const item = items[number]
  if (item === undefined) throw new Error(`fixtures/${name} has no ${kind} ${number}`)
  const file = kind === 'case' ? 'reference' : kind
  return { item, reference: await fetchReference(`${name}/${file}-${number}.safetensors`) }
}

/** The tensors of a file of the fixtures. */
export async function fetchReference(path: string): Promise<CapturedTensors> {
  return parseReference(await fetched(path))
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

/** The root mean square of the difference, relative to that of the expected values. */
export function rms(actual: PlainTensor | undefined, expected: PlainTensor): number {
  let [difference, size] = [0, 0]
  for (const [i, value] of expected.data.entries()) {
    difference += ((actual?.data[i] ?? Number.NaN) - value) ** 2
    size += value ** 2
  }
  return Math.sqrt(difference / size)
}

/** Peak signal-to-noise ratio of images in 0…1, in dB. */
export function psnr(actual: PlainTensor, expected: PlainTensor): number {
  const error =
    expected.data.reduce((sum, value, i) => sum + (value - (actual.data[i] ?? Number.NaN)) ** 2, 0) / expected.data.length
  return -10 * Math.log10(error)
}

/** One entry of fixtures/vae-tiling/cases.json. */
export interface VaeCase {
  readonly fixture: string
  readonly pipeline: string
  readonly prompt: string
  readonly negative_prompt: string
  readonly seed: number
  readonly num_inference_steps: number
  readonly guidance_scale: number
  readonly num_images_per_prompt: number
  readonly width: number
  readonly height: number
  readonly strength: number | null
  readonly max_sequence_length?: number
  /** `tile`: the edge of the tiles in latent pixels, if it is not the autoencoder's own. */
  readonly vae: { readonly tiling?: boolean; readonly slicing?: boolean; readonly tile?: number }
}

/** The options of `generate` for a {@link VaeCase}. */
export function vaeCaseOptions(item: VaeCase, input: PlainTensor | undefined): GenerateOptions {
  return {
    negativePrompt: item.negative_prompt,
    seed: item.seed,
    numInferenceSteps: item.num_inference_steps,
    guidanceScale: item.guidance_scale,
    numImagesPerPrompt: item.num_images_per_prompt,
    width: item.width,
    height: item.height,
    maxSequenceLength: item.max_sequence_length,
    ...(input === undefined || item.strength === null ? {} : { image: asPixels(input), strength: item.strength }),
    capture: ['initial_latents', 'image'],
  }
}

/** [height, width, 3] in 0…255 as RGBA. */
export function asPixels({ dims, data }: PlainTensor): PixelImage {
  const [height = 0, width = 0] = dims
  const rgba = Uint8ClampedArray.from({ length: width * height * 4 }, (_, i) =>
    i % 4 === 3 ? 255 : (data[Math.floor(i / 4) * 3 + (i % 4)] ?? 0),
  )
  return { width, height, data: rgba }
}
