/** The entries of fixtures' case.json as calls of the public API, and the tensors that diffusers computed for them. Not part of the library. */

import type { CapturedTensors, GenerateOptions, LoadPipelineOptions, PlainTensor } from './types.js'

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
  readonly dtype: 'float32' | 'float16'
  /** Path of the repository, relative to the fixture's folder; `repo` by default. */
  readonly repo?: string
  readonly extra: Readonly<Record<string, unknown>>
}

/** The options of a case for `fromPretrained`: the variant, and the components that are left out. */
export function caseLoading({ extra }: FixtureCase): Pick<LoadPipelineOptions, 'variant' | 'components'> {
  const { variant } = extra
  const left = Object.entries(extra).filter(([, value]) => value === null)
  return {
    ...(typeof variant === 'string' ? { variant } : {}),
    ...(left.length > 0 ? { components: Object.fromEntries(left.map(([name]) => [name, null])) } : {}),
  }
}

const camelCase = (key: string) => key.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())

/** The options of a case for `generate`. `ownScheduler`: the class of the repository's scheduler. */
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

interface Entry {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data_offsets: readonly [number, number]
}

/** The tensors of a reference file, as float32. The file is not checked, because the fixtures' generator wrote it. */
export function parseReference(file: Uint8Array): CapturedTensors {
  const begin = 8 + Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true))
  const { __metadata__: _, ...header } = JSON.parse(new TextDecoder().decode(file.subarray(8, begin))) as Record<string, Entry>
  const tensors = Object.entries(header).map(([name, { dtype, shape, data_offsets: offsets }]): [string, PlainTensor] => {
    const bytes = Uint8Array.from(file.subarray(begin + offsets[0], begin + offsets[1])).buffer
    return [name, { dims: shape, data: toFloat32(dtype, bytes, name) }]
  })
  return Object.fromEntries(tensors)
}

function toFloat32(dtype: string, bytes: ArrayBuffer, name: string): Float32Array<ArrayBuffer> {
  if (dtype === 'F32') return new Float32Array(bytes)
  if (dtype === 'F64') return Float32Array.from(new Float64Array(bytes))
  if (dtype === 'I64') return Float32Array.from(new BigInt64Array(bytes), Number)
  throw new Error(`Reference tensor '${name}' is ${dtype}; F32, F64 and I64 are read`)
}
