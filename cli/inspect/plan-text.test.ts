/** Tests the text of a memory plan. */

import { expect, test } from 'vitest'
import type { ComponentPlan, MemoryPlan } from '../../src/memory/plan.js'
import type { NetworkRole } from '../../src/models/types.js'
import { shortNames } from './block-names.js'
import { planText } from './plan-text.js'

test('names of blocks are shortened to branches and ranges', () => {
  const resnets = [0, 1].flatMap((block) => [0, 1, 2].map((i) => `up.${block}.resnets.${i}`))
  const all = ['conv_in', ...resnets, 'up.0.upsamplers.0', 'mid.0', 'mid.1', 'mid.3', 'conv_out']
  const short = (...wanted: string[]) => shortNames(all, new Set(wanted))
  expect(short()).toEqual([])
  expect(short(...all)).toEqual(['conv_in', 'up.*', 'mid.*', 'conv_out'])
  expect(short(...resnets)).toEqual(['up.0.resnets.*', 'up.1.*'])
  expect(short('up.0.resnets.1', 'up.0.resnets.2', 'up.0.upsamplers.0')).toEqual(['up.0.resnets.1–2', 'up.0.upsamplers.0'])
  expect(short('mid.0', 'mid.1', 'conv_out', 'conv_in')).toEqual(['conv_in', 'mid.0–1', 'conv_out'])
  expect(short('mid.1', 'mid.3')).toEqual(['mid.1', 'mid.3'])
  // In T5, the name of one block is the beginning of another's.
  const t5 = ['block.0.bias', 'block.0', 'block.1', 'norm']
  expect(shortNames(t5, new Set(['block.0', 'block.1']))).toEqual(['block.0–1'])
  expect(shortNames(t5, new Set(['block.0', 'block.0.bias']))).toEqual(['block.0.*'])
})

const part = (name: string, more: Partial<ComponentPlan> = {}): ComponentPlan => ({
  name,
  residence: 'model',
  weightBytes: 2000,
  weightBudget: undefined,
  peakWeightBytes: 2000,
  keptBytes: 2000,
  streamedBytes: 0,
  activationBytes: 50,
  blocks: [{ name: 'all', bytes: 2000, place: 'kept' }],
  ...more,
})
const plan = (...components: ComponentPlan[]): MemoryPlan => ({
  residence: 'block',
  maxMemory: 4000,
  heldBytes: 0,
  peakBytes: 3000,
  components,
})

const roles: Readonly<Record<string, NetworkRole>> = { text_encoder: 'text-encoder', unet: 'denoiser', vae: 'autoencoder' }

test('a plan says what runs when and where, which blocks stay, and the peak of each device', () => {
  const places = ['once', 'kept', 'streamed', 'streamed'] as const
  const blocks = places.map((place, i) => ({ name: `blocks.${i}`, bytes: 500, place }))
  const unet = part('unet', { residence: 'block', keptBytes: 500, streamedBytes: 1500, peakWeightBytes: 1500, blocks })
  const vae = part('vae', { tile: 64 })
  const encoder = part('vae', { part: 'encoder' })
  expect(
    planText(
      { devices: { webgpu: { ...plan(encoder, unet, vae), heldBytes: 20 }, wasm: plan(part('text_encoder')) } },
      (name) => roles[name]!,
    ),
  ).toEqual([
    [
      'when                component      device  offload  weights     stay  at most  per run  activations  blocks',
      '1, each prompt      text_encoder   wasm    model    2.00 kB  2.00 kB  2.00 kB      0 B               all 1 stay',
      '2, once             vae (encoder)  webgpu  model    2.00 kB  2.00 kB  2.00 kB      0 B         50 B  all 1 stay',
      '3, each step        unet           webgpu  block    2.00 kB    500 B  1.50 kB  1.50 kB         50 B  1 of 4 stay',
      '4, each tile of 64  vae            webgpu  model    2.00 kB  2.00 kB  2.00 kB      0 B         50 B  all 1 stay',
    ].join('\n'),
    'unet keeps blocks.1',
    '  and uploads in the first run of a picture blocks.0',
    '  and uploads in each run blocks.2–3',
    'webgpu: offload block, at most 3.00 kB of 4.00 kB, with 20 B for embeddings and latents',
    'wasm: offload block, at most 3.00 kB of 4.00 kB',
  ])
})
