/**
 * The component `preview_decoder`: each step's preview is the picture that diffusers' AutoencoderTiny decodes from the step's latents, and
 * the plan includes the component.
 */

import { join } from 'node:path'
import { expect, test } from 'vitest'
import { UnsupportedError } from '../../errors.js'
import { readRepository } from '../../../e2e/fixture-repository.js'
import { startHubServer } from '../../../e2e/hub-server/server.js'
import { Hub } from '../../hub/hub.js'
import { loadPipeline, planLoad } from '../diffusion-pipeline.js'
import { caseLoading, caseOptions } from '../testing-cases.js'
import { diskRepository, fixtures, readCases, readReference } from '../testing.node.js'
import type { PixelImage } from '../types.js'

const name = 'few-steps/tiny-vae'
const { item } = readCases(name)[0]!
const repo = diskRepository(join(fixtures, name, 'repo'))

/** Runs `work` with a Hub that has the tiny autoencoder, and another autoencoder for other latents. */
async function withHub<T>(work: (options: { hub: Hub; endpoint: string }) => Promise<T>): Promise<T> {
  const tiny = Object.fromEntries(
    Object.entries(readRepository(`fixtures/${name}/repo`)).flatMap(([path, file]) =>
      path.startsWith('vae/') ? [[path.slice('vae/'.length), file]] : [],
    ),
  )
  const config = JSON.parse(new TextDecoder().decode(tiny['config.json'])) as object
  const other = { ...tiny, 'config.json': new TextEncoder().encode(JSON.stringify({ ...config, latent_channels: 16 })) }
  const server = await startHubServer({ repositories: { 'owner/tiny': tiny, 'madebyollin/taesd': tiny, 'owner/other': other } })
  try {
    return await work({ hub: await Hub.open({ store: null }), endpoint: server.url })
  } finally {
    await server.close()
  }
}

test('previews are the pictures that AutoencoderTiny decodes of the latents, as large as the image', async () => {
  const expected = readReference(join(fixtures, name, 'previews.safetensors'))
  await withHub(async (remote) => {
    const components = { preview_decoder: 'owner/tiny' }
    const pipeline = await loadPipeline(repo, { device: 'wasm', ...caseLoading(item), ...remote, components })
    const previews: (PixelImage | undefined)[] = []
    try {
      const { images } = await pipeline.generate(item.prompt, {
        ...caseOptions(item, pipeline.info.scheduler.className),
        previewEvery: 1,
        onStep: ({ preview }) => previews.push(preview),
      })
      expect(pipeline.info.components['preview_decoder']).toMatchObject({ className: 'AutoencoderTiny', repo: 'owner/tiny' })
      // The repository's autoencoder is the same network.
      expect(previews.at(-1)).toEqual(images[0])
    } finally {
      await pipeline.dispose()
    }
    expect(previews).toHaveLength(item.num_inference_steps)
    for (const [step, preview] of previews.entries()) {
      const reference = expected[`preview_${step}`]!
      const [, height = 0, width = 0, channels = 0] = reference.dims
      expect(preview).toMatchObject({ width, height })
      const far = reference.data.reduce((most, value, at) => {
        const own = preview!.data[Math.floor(at / channels) * 4 + (at % channels)] ?? Number.NaN
        return Math.max(most, Math.abs(own - value * 255))
      }, 0)
      // Rounding to 8 bits changes a value by up to 0.5. The rest is the difference between two float32 computations.
      expect(far).toBeLessThan(0.6)
    }
  })
})

test('the plan counts the weights of a preview decoder, and a decoder of other latents is refused before any weights are downloaded', async () => {
  await withHub(async (remote) => {
    const options = { device: 'wasm', ...caseLoading(item), ...remote } as const
    const plain = await planLoad(repo, options)
    const planned = await planLoad(repo, { ...options, components: { preview_decoder: 'owner/tiny' } })
    const parts = (plan: typeof planned) => plan.devices.wasm?.components.map((part) => part.name)
    expect(parts(planned)).toEqual([...(parts(plain) ?? []), 'preview_decoder'])
    expect(planned.devices.wasm?.peakBytes).toBeGreaterThan(plain.devices.wasm?.peakBytes ?? 0)
    const automatic = await planLoad(repo, { ...options, components: { preview_decoder: 'auto' } })
    expect(automatic.components['preview_decoder']?.repo).toBe('madebyollin/taesd')
    // No tiny autoencoder is published for FLUX.2-klein.
    const klein = diskRepository(join(fixtures, 'tiny-flux2-klein', 'repo'))
    expect(
      (await planLoad(klein, { device: 'wasm', ...remote, components: { preview_decoder: 'auto' } })).components,
    ).not.toHaveProperty('preview_decoder')
    const loading = loadPipeline(repo, { ...options, components: { preview_decoder: 'owner/other' } })
    await expect(loading).rejects.toThrow(UnsupportedError)
    await expect(loading).rejects.toThrow('latent_channels 16')
  })
})
