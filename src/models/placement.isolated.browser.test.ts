/**
 * On WebGPU every node of every network runs on the GPU: one that fell back to the CPU would copy its tensors there and back. The device
 * has no more than the limits that WebGPU promises everywhere (8 storage buffers a shader, 128 MiB a binding).
 */

import * as ort from 'onnxruntime-web/jspi'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Config } from '../checkpoint/types.js'
import { GraphBuilder } from '../onnx/graph-builder.js'
import type { ComponentGraph, Program, QuantizedWeights, WriteOptions } from '../onnx/types.js'
import { AutoencoderKL } from './autoencoders/autoencoder-kl.js'
import { CLIPTextModelWithProjection } from './text-encoders/clip-text-model.js'
import { FluxTransformer2DModel } from './transformers/transformer-flux.js'
import { SD3Transformer2DModel } from './transformers/transformer-sd3.js'
import { T5EncoderModel } from './text-encoders/t5-encoder-model.js'
import { graphFor } from './testing.js'
import { UNet2DConditionModel } from './unets/unet-2d-condition.js'

type Writer = (config: Config, options: WriteOptions) => ComponentGraph

const latents = { batch: 2, height: 9, width: 6, sequenceLength: 20 }
const text = { batch: 2, sequenceLength: 20 }

const networks: readonly (readonly [string, Writer])[] = [
  ['tiny-sdxl/repo/text_encoder_2', (config, options) => graphFor(CLIPTextModelWithProjection, config, text, options)],
  ['tiny-sdxl/repo/unet', (config, options) => graphFor(UNet2DConditionModel, config, latents, options)],
  ['tiny-sd21/repo/unet', (config, options) => graphFor(UNet2DConditionModel, config, latents, options)],
  ['networks/repo/unet_unusual', (config, options) => graphFor(UNet2DConditionModel, config, latents, options)],
  ['tiny-sdxl/repo/vae', (config, options) => graphFor(AutoencoderKL, config, latents, options)],
  // More tokens than one chunk of attention takes.
  ['tiny-sdxl/repo/vae', (config, options) => graphFor(AutoencoderKL, config, { batch: 1, height: 72, width: 72 }, options)],
  [
    'tiny-sdxl/repo/vae',
    (config, options) => graphFor(AutoencoderKL, config, { batch: 1, height: 48, width: 64 }, options, { part: 'encoder' }),
  ],
  ['tiny-sd3/repo/text_encoder_3', (config, options) => graphFor(T5EncoderModel, config, text, options)],
  ['networks/repo/t5_relu', (config, options) => graphFor(T5EncoderModel, config, text, options)],
  [
    'tiny-sd35/repo/transformer',
    (config, options) => graphFor(SD3Transformer2DModel, config, { ...latents, height: 8 }, options),
  ],
  [
    'tiny-flux/repo/transformer',
    (config, options) => graphFor(FluxTransformer2DModel, config, { ...latents, height: 8 }, options),
  ],
]

/** Four bits in blocks of 32 for some Linears of the transformers and of tiny-sd3's T5. */
const quantized: QuantizedWeights = (parameter) => {
  if (/transformer_blocks\.\d\.attn\.(to_[qkv]|add_[qkv]_proj)\.weight$/.test(parameter))
    return { codes: [32, 1, 16], zeroPoints: false }
  if (/DenseReluDense\.wi_\d\.weight$/.test(parameter)) return { codes: [96, 2, 16], zeroPoints: true }
  return undefined
}

let device: GPUDevice

beforeAll(async () => {
  const adapter = await navigator.gpu.requestAdapter()
  if (adapter === null) throw new Error('This browser has no WebGPU adapter')
  device = await adapter.requestDevice()
})

afterAll(() => device.destroy())

async function createSession(program: Program): Promise<ort.InferenceSession> {
  const executionProviders = [{ name: 'webgpu', device }] as unknown as ort.InferenceSession.ExecutionProviderConfig[]
  const extra = { session: { disable_cpu_ep_fallback: '1' } }
  return ort.InferenceSession.create(program.model, { executionProviders, logSeverityLevel: 3, extra })
}

async function read(path: string): Promise<Config> {
  const response = await fetch(`/fixtures/${path}/config.json`)
  return (await response.json()) as Config
}

const forms: readonly WriteOptions[] = [
  { dtype: 'float32', weights: 'input', granularity: 'component' },
  { dtype: 'float32', weights: 'input', granularity: 'block' },
  { dtype: 'float16', weights: 'input', granularity: 'component' },
  { dtype: 'float16', weights: 'input', granularity: 'block', quantized },
]

test('a node that only the CPU has is refused, so that the next test can fail', async () => {
  const graph = new GraphBuilder({ dtype: 'float32', weights: 'input', granularity: 'component' })
  const x = graph.input('x', 'float32', [4])
  const [rounded] = graph.node({ op: 'Round', inputs: [x], outputs: [x] })
  graph.output('y', rounded!)
  const program = graph.finish('round')
  await expect(createSession(program)).rejects.toThrow(/fallback/)
  const onCpu = await ort.InferenceSession.create(program.model, { executionProviders: ['wasm'] })
  await onCpu.release()
})

test.each(networks)('%s is on the GPU as a whole', async (path, write) => {
  const config = await read(path)
  const programs = new Map(forms.flatMap((options) => write(config, options).stages.map(({ program }) => [program.key, program])))
  expect(programs.size).toBeGreaterThan(3)
  for (const program of programs.values()) {
    const session = await createSession(program)
    expect(session.outputNames).toEqual(program.outputs.map(({ name }) => name))
    await session.release()
  }
})
