/**
 * A transformer in a GGUF file makes the picture that diffusers makes with the same weights, whether the file is loaded as one component or
 * as the checkpoint (fixtures/gguf).
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readRepository } from '../../e2e/fixture-repository.js'
import { startHubServer } from '../../e2e/hub-server/server.js'
import { componentFileOf } from '../checkpoint/layouts/single-file/testing.node.js'
import { memoryRepository } from '../checkpoint/testing.js'
import { Hub } from '../hub/hub.js'
import { loadPipeline, planLoad } from './diffusion-pipeline.js'
import type { OpenPipelineOptions, PipelineSource } from './loading/find-pipeline.js'
import { caseLoading, caseOptions } from './testing-cases.js'
import { diskRepository, fixtures, readCases, readReference } from './testing.node.js'
import { psnr, relativeError } from './testing.js'

const { item } = readCases('tiny-sd35')[0]!
const folder = join(fixtures, 'gguf')
const reference = readReference(join(folder, 'transformer.safetensors'))
const file = Uint8Array.from(readFileSync(join(folder, 'transformer.gguf')))
const config = diskRepository(join(fixtures, 'tiny-sd35', 'repo'))

async function paint(source: PipelineSource, options: OpenPipelineOptions = {}, run = item) {
  const warnings: string[] = []
  const onProgress: OpenPipelineOptions['onProgress'] = (event) => {
    if (event.type === 'warning') warnings.push(event.code)
  }
  const pipeline = await loadPipeline(source, { device: 'wasm', ...caseLoading(run), ...options, onProgress })
  try {
    const { captured = {} } = await pipeline.generate(run.prompt, {
      ...caseOptions(run, pipeline.info.scheduler.className),
      capture: ['noise_pred', 'image'],
    })
    return { info: pipeline.info, warnings, image: captured['image']!, noise: captured['noise_pred_0']! }
  } finally {
    await pipeline.dispose()
  }
}

const source = { singleFile: { repository: memoryRepository({ 'model.gguf': file }), path: 'model.gguf' }, config }

test('in float32, a GGUF transformer has the values that the gguf package reads, and the other components come from the configs', async () => {
  const { image, noise, info, warnings } = await paint(source, { dtype: 'float32' })
  expect(relativeError(noise, reference['noise_pred_0']!)).toBeLessThan(1e-4)
  expect(psnr(image, reference['image']!)).toBeGreaterThan(90)
  expect(warnings).toContain('single-file-filled')
  expect(info.components['transformer']).not.toHaveProperty('quantization', 'q8')
})

test('by default, the weights of a GGUF transformer stay quantized, and a note gives the error of weights that were quantized again', async () => {
  const { image, info } = await paint(source)
  expect(info.components['transformer']?.quantization).toBe('q8')
  const notes = info.notes.filter(({ code }) => code === 'weights-requantized')
  expect(notes.flatMap(({ values }) => Object.keys(values)).toSorted()).toEqual(['Q4_1', 'Q5_0', 'Q5_1'])
  expect(notes.every(({ component }) => component === 'transformer')).toBe(true)
  // Most weights keep the file's values; those in block formats that MatMulNBits cannot represent are quantized again. No bound for their
  // effect can be derived, so this one was measured.
  expect(psnr(image, reference['image']!)).toBeGreaterThan(25)
})

test('a transformer of FLUX.1, whose fused rows are split, has the values that the gguf package reads', async () => {
  const flux = readCases('tiny-flux')[0]!.item
  const expected = readReference(join(folder, 'flux.safetensors'))
  const repository = memoryRepository({ 'flux.gguf': Uint8Array.from(readFileSync(join(folder, 'flux.gguf'))) })
  const fluxSource = {
    singleFile: { repository, path: 'flux.gguf' },
    config: diskRepository(join(fixtures, 'tiny-flux', 'repo')),
  }
  const exact = await paint(fluxSource, { dtype: 'float32' }, flux)
  expect(relativeError(exact.noise, expected['noise_pred_0']!)).toBeLessThan(1e-4)
  expect(psnr(exact.image, expected['image']!)).toBeGreaterThan(90)
  const blocks = await paint(fluxSource, {}, flux)
  expect(blocks.info.components['transformer']?.quantization).toBe('q8')
  expect(psnr(blocks.image, expected['image']!)).toBeGreaterThan(25)
})

test('a plan counts the quantized weights, and reads the header alone', async () => {
  const whole = await planLoad(source, { device: 'wasm', ...caseLoading(item), dtype: 'float32' })
  const blocks = await planLoad(source, { device: 'wasm', ...caseLoading(item) })
  expect(blocks.components['transformer']!.bytes).toBeLessThan(0.6 * whole.components['transformer']!.bytes)
})

test('addresses of files replace components of another checkpoint', async () => {
  const server = await startHubServer({
    repositories: {
      'owner/sd35': readRepository(join(fixtures, 'tiny-sd35', 'repo')),
      'owner/quantized': { 'transformer.gguf': file },
      'owner/vae': { 'vae-ft.safetensors': await componentFileOf('tiny-sd35', 'vae') },
    },
  })
  try {
    const hub = await Hub.open({ store: null })
    const components = {
      ...caseLoading(item).components,
      transformer: `${server.url}/owner/quantized/blob/main/transformer.gguf`,
      vae: `${server.url}/owner/vae/resolve/main/vae-ft.safetensors`,
    }
    const options = { endpoint: server.url, hub, components, dtype: 'float32' } as const
    const plan = await planLoad('owner/sd35', { device: 'wasm', ...options })
    expect(plan.components).toMatchObject({ transformer: { repo: 'owner/quantized' }, vae: { repo: 'owner/vae' } })
    const { image } = await paint('owner/sd35', options)
    expect(psnr(image, reference['image']!)).toBeGreaterThan(90)
  } finally {
    await server.close()
  }
})
