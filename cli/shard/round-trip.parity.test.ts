/** The output of `aquatint shard`, loaded by Aquatint's own pipelines: its image is compared with the image that diffusers made. */

import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadPipeline } from '../../src/pipelines/diffusion-pipeline.js'
import { readCases } from '../../src/pipelines/testing.node.js'
import { caseOptions } from '../../src/pipelines/testing-cases.js'
import { psnr } from '../../src/pipelines/testing.js'
import type { LoadPipelineOptions, PlainTensor } from '../../src/pipelines/types.js'
import { DiskRepository } from '../disk-repository.js'
import { fixtures, run, temporaryFolder } from '../testing.js'

const temporary = await temporaryFolder()

/** The image of a fixture's first case. */
async function paint(fixture: string, folder: string, options: LoadPipelineOptions = {}): Promise<PlainTensor> {
  const { item } = readCases(fixture)[0]!
  const repository = new DiskRepository(folder)
  const pipeline = await loadPipeline(repository, { device: 'wasm', ...options })
  try {
    const own = caseOptions(item, pipeline.info.scheduler.className)
    const { captured = {} } = await pipeline.generate(item.prompt, { ...own, capture: ['image'] })
    return captured['image']!
  } finally {
    await pipeline.dispose()
    await repository.close()
  }
}

describe.each([
  ['tiny-sdxl', ['text_encoder', 'text_encoder_2', 'unet']],
  ['tiny-sd3', ['text_encoder', 'text_encoder_2', 'text_encoder_3', 'transformer']],
] as const)('%s', (fixture, networks) => {
  const source = join(fixtures, fixture, 'repo')
  const { reference } = readCases(fixture)[0]!

  async function sharded(...options: string[]): Promise<PlainTensor> {
    const out = join(temporary, `${fixture}-${options.join('-').replaceAll(/[^\w]+/g, '-')}`)
    expect((await run(['shard', source, '--out', out, '--max-shard-size', '150KB', ...options])).code).toBe(0)
    return paint(fixture, out)
  }

  it('unchanged: the same image, bit for bit', async () => {
    expect((await sharded()).data).toEqual((await paint(fixture, source)).data)
  })

  // Measured for the two fixtures: 61 and 66 dB in float16; 48 and 50 dB in bfloat16, whose mantissa has three bits (18 dB) less.
  it.each([
    ['float16', 55],
    ['bfloat16', 42],
  ])('%s: within %i dB of the image that diffusers made in float32', async (dtype, decibels) => {
    expect(psnr(await sharded('--dtype', dtype), reference['image']!)).toBeGreaterThan(decibels)
  })

  it.each(['q8', 'q4'] as const)('%s: bit for bit the image of weights that are quantized during the load', async (dtype) => {
    // The load below leaves the VAE in float32; with `--dtype` alone, shard would cast it to float16.
    const written = await sharded('--dtype', dtype, '--dtype', 'vae=float32')
    const loaded = await paint(fixture, source, {
      dtype: Object.fromEntries(networks.map((name) => [name, dtype])),
    })
    expect(written.data).toEqual(loaded.data)
  })
})
