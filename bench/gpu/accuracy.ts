/**
 * Measures how exact networks are in float16: judge.py writes a network with random weights and the output of diffusers' module in float32,
 * and Aquatint computes the same output on the GPU. An error is the root mean square of the differences, divided by that of the output.
 */

import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { QuantizationName } from '../../src/pipelines/types.js'
import { writeDequantized } from './dequantize.js'
import type { ErrorForm } from './network-error.js'
import { readGroups, type JudgedNetwork } from './networks.js'

/** The options for `parseArgs` that choose the networks and how they are compared. */
export const accuracyOptions = {
  tiny: { type: 'boolean', default: false },
  minutes: { type: 'string', default: '6' },
  python: { type: 'string', default: 'python3' },
  latents: { type: 'string' },
  tokens: { type: 'string' },
  only: { type: 'string' },
} as const

/** The values of {@link accuracyOptions}. */
interface AccuracySettings {
  /** Whether to use the fixtures' configs instead of the published ones. */
  readonly tiny: boolean
  readonly minutes: string
  /** A Python interpreter with PyTorch and diffusers. */
  readonly python: string
  /** Height and width of the latents. Default: 16. */
  readonly latents?: string | undefined
  /** Tokens of the prompt. Default: 77. */
  readonly tokens?: string | undefined
  /** Only networks whose names contain this text are compared. */
  readonly only?: string | undefined
}

/** Runs the network in a folder on the GPU and returns its error. */
type ErrorOf = (folder: string, form: Omit<ErrorForm, 'kind'>) => Promise<number>

/** The largest allowed error, as a multiple of PyTorch's. */
const mostTimes = 1.5

/** What judge.py prints. */
interface Judged {
  /** The error of PyTorch. */
  readonly error: number
  /** What PyTorch computed in float16: everything (`float16`), or only the `products`, in networks whose residual stream exceeds float16's range. */
  readonly how: 'float16' | 'products'
}

/**
 * Compares the networks that the settings choose, and prints a row for each as soon as it is compared. Returns whether all were measured, with errors of at most 1.5 times
 * PyTorch's. The files of a network take up to 6 GB in the system's temporary folder.
 */
export async function compareWithPyTorch(settings: AccuracySettings, errorOf: ErrorOf): Promise<boolean> {
  const { tiny, minutes, only = '' } = settings
  const ends = performance.now() + Number(minutes) * 60_000
  const groups = await readGroups()
  let failures = 0
  console.log("\n| network | weights | PyTorch, float16 | Aquatint, float16 | times PyTorch | with onnxruntime's kernels |")
  console.log('| --- | --- | ---: | ---: | ---: | ---: |')
  for (const source of groups[tiny ? 'judged-tiny' : 'judged'].filter(({ name }) => name.includes(only)))
    try {
      if (performance.now() > ends) throw new Error(`the limit of ${minutes} minutes was reached`)
      if (!(await compareNetwork(source, settings, errorOf))) failures++
    } catch (error) {
      failures++
      const [reason] = (error instanceof Error ? error.message : String(error)).split('\n')
      console.log(`| ${source.name} | not measured: ${reason} | | | | |`)
    }
  return failures === 0
}

/** Returns whether the network's errors are within the bound. */
async function compareNetwork(source: JudgedNetwork, settings: AccuracySettings, errorOf: ErrorOf): Promise<boolean> {
  const folder = await mkdtemp(`${tmpdir()}/aquatint-judge-`)
  const judge = async (quantization?: QuantizationName): Promise<Judged> => {
    const script = fileURLToPath(new URL('judge.py', import.meta.url))
    const size = (['latents', 'tokens'] as const).flatMap((name) => {
      const value = settings[name]
      return value === undefined ? [] : [`--${name}`, value]
    })
    const weights = quantization === undefined ? [] : ['--dequantized', quantization]
    const { stdout } = await promisify(execFile)(settings.python, [script, source.name, folder, ...size, ...weights])
    return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Judged
  }
  let isWithin = true
  try {
    for (const quantization of [undefined, ...(source.quantized ?? [])]) {
      if (quantization !== undefined) await writeDequantized(folder, quantization)
      const { error, how } = await judge(quantization)
      const form = { dtype: 'float16', quantization } as const
      const aquatint = await errorOf(folder, { ...form, kernels: 'aquatint' })
      // Quantized weights do not change how onnxruntime's kernels sum, so these kernels are measured with float16 weights only.
      const onnxruntime = quantization === undefined ? shown(await errorOf(folder, { ...form, kernels: 'onnxruntime' })) : ''
      const own = how === 'float16' ? shown(error) : `${shown(error)}, products alone`
      const cells = [source.name, quantization ?? 'float16', own, shown(aquatint), (aquatint / error).toFixed(2), onnxruntime]
      console.log(`| ${cells.join(' | ')} |`)
      isWithin &&= aquatint <= mostTimes * error
    }
    return isWithin
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** Formats an error, such as `1.3e-3`. */
function shown(error: number): string {
  return Number.isFinite(error) ? error.toExponential(1) : 'not finite'
}
