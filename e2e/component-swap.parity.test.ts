/**
 * Loads pipelines with components from other repositories, such as a sharded UNet (docs/models.md), over HTTP from the Hub look-alike. Runs in
 * Node on the CPU.
 */

import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Hub } from '../src/hub/hub.js'
import { loadPipeline } from '../src/pipelines/diffusion-pipeline.js'
import { readCases } from '../src/pipelines/testing.node.js'
import { caseOptions } from '../src/pipelines/testing-cases.js'
import { psnr } from '../src/pipelines/testing.js'
import type { ComponentReference } from '../src/pipelines/types.js'
import { readRepository } from './fixture-repository.js'
import { startHubServer } from './hub-server/server.js'
import type { HubServer } from './hub-server/types.js'

const sdxl = fileURLToPath(new URL('../fixtures/tiny-sdxl/repo', import.meta.url))

const whole = readRepository(sdxl)
const unet = readRepository(join(sdxl, 'unet'))
const withoutUnet = Object.fromEntries(Object.entries(whole).filter(([path]) => !path.startsWith('unet/')))
/** A UNet whose config names another class. */
const otherUnet = {
  ...unet,
  'config.json': JSON.stringify({
    ...JSON.parse(Buffer.from(unet['config.json']!).toString()),
    _class_name: 'UNet3DConditionModel',
  }),
}

let server: HubServer
let hub: Hub
beforeAll(async () => {
  server = await startHubServer({
    repositories: {
      'owner/sdxl': whole,
      'owner/no-unet': withoutUnet,
      'owner/other-scheduler': {
        'scheduler/scheduler_config.json': JSON.stringify({ _class_name: 'DDIMScheduler', beta_schedule: 'scaled_linear' }),
      },
      'someone/unet-sharded': unet,
      'someone/in-folder': Object.fromEntries(Object.entries(unet).map(([path, bytes]) => [`nested/denoiser/${path}`, bytes])),
    },
  })
  hub = await Hub.open({ store: null })
})
afterAll(() => server.close())

const load = (repo: string, components: Record<string, string | ComponentReference | null>, variant?: string) =>
  loadPipeline(repo, { endpoint: server.url, device: 'wasm', hub, components, variant })

test.each<[string, string | ComponentReference]>([
  ['a model’s own repository', 'someone/unet-sharded'],
  ['another pipeline’s repository', 'owner/sdxl'],
  ['a subfolder', { repo: 'someone/in-folder', subfolder: 'nested/denoiser' }],
])('a UNet from %s gives the fixture’s image', async (_, reference) => {
  const { item, reference: expected } = readCases('tiny-sdxl')[2]!
  const pipeline = await load('owner/no-unet', { unet: reference })
  try {
    const name = typeof reference === 'string' ? reference : reference.repo
    expect(pipeline.info.components['unet']).toMatchObject({ className: 'UNet2DConditionModel', repo: name })
    expect(pipeline.info.components['vae']).toMatchObject({ repo: 'owner/no-unet' })
    const { captured = {} } = await pipeline.generate(item.prompt, { ...caseOptions(item, ''), capture: ['image'] })
    expect(psnr(captured['image']!, expected['image']!)).toBeGreaterThan(90)
  } finally {
    await pipeline.dispose()
  }
})

test('a tokenizer and a scheduler come from their folders of another pipeline’s repository, with their classes', async () => {
  const pipeline = await load('owner/sdxl', { tokenizer: 'owner/no-unet', scheduler: 'owner/other-scheduler' })
  await pipeline.dispose()
  expect(pipeline.info.scheduler.className).toBe('DDIMScheduler')
  const asked = server.log.map((entry) => JSON.stringify(entry)).filter((entry) => entry.includes('owner/no-unet'))
  expect(asked.some((entry) => entry.includes('/tokenizer/'))).toBe(true)
})

test('only the swapped component’s files are requested from its repository, and none of those that it replaces', async () => {
  await server.close()
  server = await startHubServer({
    repositories: { 'owner/sdxl': whole, 'someone/unet-sharded': unet, 'someone/other': otherUnet },
  })
  hub = await Hub.open({ store: null })
  const pipeline = await load('owner/sdxl', { unet: 'someone/unet-sharded' })
  await pipeline.dispose()
  const asked = server.log.map((entry) => JSON.stringify(entry)).filter((entry) => entry.includes('safetensors'))
  expect(asked.some((entry) => entry.includes('owner/sdxl') && entry.includes('/unet/'))).toBe(false)
  expect(asked.length).toBeGreaterThan(0)
})

test.each<[string, string, string | ComponentReference, string | undefined, string]>([
  ['a class that does not fit', 'owner/sdxl', 'someone/other', undefined, 'unsupported-class'],
  [
    'a subfolder that is not there',
    'owner/sdxl',
    { repo: 'someone/unet-sharded', subfolder: 'nowhere' },
    undefined,
    'file-not-found',
  ],
  [
    'a variant that it does not have',
    'owner/sdxl',
    { repo: 'someone/unet-sharded', variant: 'bf16' },
    undefined,
    'variant-not-found',
  ],
  ['a repository that is not there', 'owner/sdxl', 'someone/nothing', undefined, 'repository-not-found'],
  ['an invalid repository id', 'owner/sdxl', 'some one/unet', undefined, 'bad-repository-id'],
])('refuses %s', async (_, repo, reference, variant, code) => {
  await expect(load(repo, { unet: reference }, variant)).rejects.toMatchObject({ code })
})
