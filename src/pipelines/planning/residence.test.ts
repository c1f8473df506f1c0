import { describe, expect, test } from 'vitest'
import type { ComponentNeeds, RunNeeds } from '../../memory/needs.js'
import { budgetOn, parseBudget } from '../../memory/budget.js'
import type { Residence } from '../../memory/plan.js'
import { isRefusal, orThrow } from '../../memory/refusal.js'
import { chooseResidence, planOn } from './residence.js'
import type { LoadPipelineOptions } from '../types.js'
import { capabilitiesOf, kindOf, type DeviceInfo, type DeviceName, ownKernels } from '../../memory/device-info.js'

const GiB = 2 ** 30
const info = (name: DeviceName, maxBufferSize = 2 * GiB): DeviceInfo => ({
  name,
  kind: kindOf[name],
  description: '',
  isFallbackAdapter: false,
  shaderF16: true,
  maxBufferSize,
  kernels: ownKernels,
  capabilities: capabilitiesOf[kindOf[name]],
})
const wasm = info('wasm', 4 * GiB)

const way = (activationBytes: number, tile?: number): RunNeeds => ({
  activationBytes,
  tile,
  largestValue: { name: 'Conv_0', bytes: activationBytes / 4 },
  inputs: [],
})
const needs = (name: string, bytes: number, ...ways: RunNeeds[]): ComponentNeeds => ({
  name,
  blocks: [
    { name: 'a', bytes: bytes / 2 },
    { name: 'b', bytes: bytes / 2 },
  ],
  sharedBytes: 0,
  largestWeight: { name: `${name}.weight`, bytes: bytes / 8 },
  ways: ways.length === 0 ? [way(GiB / 4)] : ways,
})

const auto = (device: DeviceInfo, ...parts: ComponentNeeds[]) =>
  chooseResidence({ mode: 'auto', needs: parts, budget: {}, device })

describe('auto on a GPU without a budget', () => {
  test('uses a guess: twice the largest buffer, from 1 to 8 GiB', () => {
    const parts = [needs('text_encoder', GiB), needs('unet', 2.5 * GiB)]
    // 4 GiB are guessed: the weights and one run's activations take 3.75.
    expect(auto(info('webgpu'), ...parts)).toBe('resident')
    expect(auto(info('webgpu'), ...parts, needs('vae', GiB))).toBe('model')
    expect(auto(info('webgpu'), needs('unet', 4 * GiB))).toBe('block')
    // The guess is at least 1 GiB, however small the largest buffer is.
    expect(auto(info('webgpu', GiB / 8), needs('unet', 0.75 * GiB))).toBe('resident')
  })

  test('streams what does not fit into the guess, and does not refuse it', () => {
    const large = needs('unet', 16 * GiB, way(4 * GiB))
    expect(auto(info('webgpu', 3 * GiB), large)).toBe('block')
    // With a budget, the same network is refused.
    const budget = { limit: 6 * GiB }
    const refusal = chooseResidence({ mode: 'auto', needs: [large], budget, device: info('webgpu', 3 * GiB) })
    expect(refusal).toMatchObject({ refused: 'does-not-fit' })
  })

  test.each(['auto', 'resident', 'model', 'block'] as const)('refuses a tensor larger than any buffer, also with %s', (mode) => {
    const device = info('webgpu', GiB)
    const chosen = (part: ComponentNeeds) => chooseResidence({ mode, needs: [part], budget: {}, device })
    expect(chosen(needs('unet', 9 * GiB))).toMatchObject({
      refused: 'buffer-too-large',
      details: { component: 'unet', tensor: 'unet.weight', bytes: 1.125 * GiB, allowed: GiB },
    })
    expect(chosen(needs('vae', GiB, way(8 * GiB)))).toMatchObject({ refused: 'buffer-too-large' })
    expect(isRefusal(chosen(needs('vae', GiB, way(8 * GiB), way(GiB, 32))))).toBe(false)
  })
})

const load = (mode: LoadPipelineOptions['offload'], maxMemory: LoadPipelineOptions['maxMemory'], ...parts: ComponentNeeds[]) =>
  chooseResidence({ mode, needs: parts, budget: budgetOn(parseBudget(maxMemory), wasm), device: wasm })
const plan = (offload: Residence, maxMemory: LoadPipelineOptions['maxMemory'], ...parts: ComponentNeeds[]) =>
  planOn({ offload, needs: parts, heldBytes: 0, device: wasm, budget: budgetOn(parseBudget(maxMemory), wasm) })

const refusal = (message: RegExp) => ({ refused: 'does-not-fit', message: expect.stringMatching(message) as string })

describe('on the CPU', () => {
  test("weights that exceed WebAssembly's heap are refused by the load and by the plan, with the same message", () => {
    const large = needs('unet', 5 * GiB)
    const words =
      /^unet needs 5368709120 bytes \(5\.37 GB\) of memory on wasm with offload model; 4294967296 \(4\.29 GB\) are available\.$/
    for (const result of [load('auto', undefined, large), plan('model', undefined, large)])
      expect(result).toMatchObject(refusal(words))
    // A budget larger than the heap does not enlarge the heap.
    expect(load('auto', { wasm: '8GiB' }, large)).toMatchObject(refusal(words))
    const [one, two] = [needs('a', 3 * GiB), needs('b', 3 * GiB)]
    expect(load('auto', undefined, one, two)).toBe('model')
    expect(load('resident', undefined, one, two)).toMatchObject(refusal(/^a, b needs 6442450944 bytes/))
    expect(plan('model', undefined, one, two)).toMatchObject({ residence: 'model', peakBytes: 3 * GiB, maxMemory: 4 * GiB })
  })

  test('a generation that needs more weights loads one component at a time if the budget requires it', () => {
    const [unet, vae] = [needs('unet', 600), needs('vae', 400)]
    const encoder = { ...needs('vae', 200), part: 'encoder' as const }
    expect(plan('resident', { wasm: 1000 }, unet, vae)).toMatchObject({ residence: 'resident', peakBytes: 1000 })
    expect(plan('resident', { wasm: 1000 }, encoder, unet, vae)).toMatchObject({ residence: 'model', peakBytes: 600 })
    expect(plan('resident', { wasm: 599 }, unet, vae)).toMatchObject({
      message: expect.stringMatching(/^unet needs 600 bytes .* on wasm with offload model; 599/) as string,
    })
  })

  test('runs are not counted; a budget that names no device still decides on tiles', () => {
    const vae = needs('vae', 400, way(1000), way(100, 32))
    const tile = (maxMemory: LoadPipelineOptions['maxMemory']) => {
      const [part] = orThrow(plan('model', maxMemory, vae)).components
      expect(part?.activationBytes).toBe(0)
      return part?.tile
    }
    expect([tile(undefined), tile(1400), tile(1399), tile(1), tile({ wasm: 400 })]).toEqual([
      undefined,
      undefined,
      32,
      32,
      undefined,
    ])
  })
})
