import { describe, expect, test } from 'vitest'
import type { ComponentNeeds, RunNeeds } from '../../memory/needs.js'
import { generationBudgets, parseBudgets, planOn, resolveOffload, type ResolvedOffload } from './residence.js'
import type { LoadPipelineOptions } from '../types.js'
import type { DeviceInfo, DeviceName } from '../../memory/device-info.js'

const GiB = 2 ** 30
const info = (name: DeviceName, maxBufferSize = 2 * GiB): DeviceInfo => ({
  name,
  kind: name === 'wasm' ? 'wasm' : 'webgpu',
  description: '',
  isFallbackAdapter: false,
  shaderF16: true,
  maxBufferSize,
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
  resolveOffload({ mode: 'auto', needs: parts, budgets: parseBudgets(undefined), device })

describe('auto on a GPU without a budget', () => {
  test('goes by a guess: twice the largest buffer, from 1 to 8 GiB', () => {
    const parts = [needs('text_encoder', GiB), needs('unet', 2.5 * GiB)]
    // 4 GiB are guessed: the weights and one run's activations take 3.75.
    expect(auto(info('webgpu'), ...parts)).toBe('resident')
    expect(auto(info('webgpu'), ...parts, needs('vae', GiB))).toBe('model')
    expect(auto(info('webgpu'), needs('unet', 4 * GiB))).toBe('block')
    // 1 GiB at least, however small buffers are.
    expect(auto(info('webgpu', GiB / 8), needs('unet', 0.75 * GiB))).toBe('resident')
  })

  test('does not refuse what the guess has no room for: it is streamed', () => {
    const large = needs('unet', 16 * GiB, way(4 * GiB))
    expect(auto(info('webgpu', 3 * GiB), large)).toBe('block')
    // With a budget it is refused.
    const given = () =>
      resolveOffload({ mode: 'auto', needs: [large], budgets: parseBudgets('6GiB'), device: info('webgpu', 3 * GiB) })
    expect(given).toThrow(expect.objectContaining({ code: 'does-not-fit' }))
  })

  test.each(['auto', 'resident', 'model', 'block'] as const)(
    'a tensor larger than any buffer is refused also with %s',
    (mode) => {
      const device = info('webgpu', GiB)
      const refused = (part: ComponentNeeds) => () =>
        resolveOffload({ mode, needs: [part], budgets: parseBudgets(undefined), device })
      expect(refused(needs('unet', 9 * GiB))).toThrow(
        expect.objectContaining({
          code: 'buffer-too-large',
          details: { component: 'unet', tensor: 'unet.weight', bytes: 1.125 * GiB, allowed: GiB },
        }),
      )
      expect(refused(needs('vae', GiB, way(8 * GiB)))).toThrow(expect.objectContaining({ code: 'buffer-too-large' }))
      expect(refused(needs('vae', GiB, way(8 * GiB), way(GiB, 32)))).not.toThrow()
    },
  )
})

const load = (mode: LoadPipelineOptions['offload'], maxMemory: LoadPipelineOptions['maxMemory'], ...parts: ComponentNeeds[]) =>
  resolveOffload({ mode, needs: parts, budgets: parseBudgets(maxMemory), device: wasm })
const plan = (offload: ResolvedOffload, maxMemory: LoadPipelineOptions['maxMemory'], ...parts: ComponentNeeds[]) =>
  planOn({ offload, needs: parts, heldBytes: 0, device: wasm, ...generationBudgets(parseBudgets(maxMemory), wasm) })

describe('on the CPU', () => {
  test('what WebAssembly has no room for is refused by the load and by the plan, in the same words', () => {
    const large = needs('unet', 5 * GiB)
    const words =
      /^unet needs 5368709120 bytes \(5\.37 GB\) of memory on wasm with offload model; 4294967296 \(4\.29 GB\) are available\.$/
    for (const refused of [() => load('auto', undefined, large), () => plan('model', undefined, large)]) {
      expect(refused).toThrow(expect.objectContaining({ code: 'does-not-fit' }))
      expect(refused).toThrow(words)
    }
    // A budget beyond the heap gives no more of it.
    expect(() => load('auto', { wasm: '8GiB' }, large)).toThrow(words)
    const [one, two] = [needs('a', 3 * GiB), needs('b', 3 * GiB)]
    expect(load('auto', undefined, one, two)).toBe('model')
    expect(() => load('resident', undefined, one, two)).toThrow(/^a, b needs 6442450944 bytes/)
    expect(plan('model', undefined, one, two)).toMatchObject({ residence: 'model', peakBytes: 3 * GiB, maxMemory: 4 * GiB })
  })

  test('a generation that adds weights takes one component at a time where the budget asks for it', () => {
    const [unet, vae] = [needs('unet', 600), needs('vae', 400)]
    const encoder = { ...needs('vae', 200), part: 'encoder' as const }
    expect(plan('resident', { wasm: 1000 }, unet, vae)).toMatchObject({ residence: 'resident', peakBytes: 1000 })
    expect(plan('resident', { wasm: 1000 }, encoder, unet, vae)).toMatchObject({ residence: 'model', peakBytes: 600 })
    expect(() => plan('resident', { wasm: 599 }, unet, vae)).toThrow(/^unet needs 600 bytes .* on wasm with offload model; 599/)
  })

  test('runs are in no account; a budget that names no device still decides on tiles', () => {
    const vae = needs('vae', 400, way(1000), way(100, 32))
    const tile = (maxMemory: LoadPipelineOptions['maxMemory']) => {
      const [part] = plan('model', maxMemory, vae).components
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
