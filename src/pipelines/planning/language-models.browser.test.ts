/**
 * Pipelines with a language model as text encoder, FLUX.2-klein and Z-Image, on a real GPU device: the measured peaks are within the plans, the encoder's weights leave
 * before the transformer's come, and streamed and quantized weights give the same bits as those that stay.
 */

import { describe, expect, test } from 'vitest'
import type { Repository } from '../../hub/types.js'
import { weightBytes, type ComponentNeeds } from '../../memory/needs.js'
import { leastActivations, planMemory } from '../../memory/plan.js'
import { orThrow } from '../../memory/refusal.js'
import type { MemorySnapshot } from '../../runtime/types.js'
import { shareGpuDevices } from '../../runtime/webgpu/testing-shared-gpu.js'
import { flux2Klein } from '../families/flux2-klein.js'
import { zImage } from '../families/z-image.js'
import { createPipeline } from '../generation/loaded-pipeline.js'
import type { PipelineFamily } from '../generation/pipeline-family.js'
import { graphOptions } from '../bind-network.js'
import { ComponentHost } from '../execution/component-host.js'
import type { ValueInfo } from '../../onnx/types.js'
import { numbers } from '../../runtime/testing.js'
import type { HostTensor } from '../../runtime/types.js'
import { elementCount } from '../../util/element-count.js'
import { Run } from '../run.js'
import { openPipeline } from '../loading/open-pipeline.js'
import { caseOptions } from '../testing-cases.js'
import { fetchCase, servedRepository } from '../testing.js'
import type { LoadPipelineOptions, PlainTensor } from '../types.js'
import { autoencoderOf, heldOn, needsOn, networkNeeds } from './memory-needs.js'

shareGpuDevices()

const families: readonly (readonly [string, Repository, PipelineFamily])[] = [
  [
    'tiny-flux2-klein',
    servedRepository('tiny-flux2-klein', import.meta.glob('../../../fixtures/tiny-flux2-klein/repo/**')),
    flux2Klein,
  ],
  ['tiny-z-image', servedRepository('tiny-z-image', import.meta.glob('../../../fixtures/tiny-z-image/repo/**')), zImage],
]

function inputsOf(infos: readonly ValueInfo[]): Record<string, HostTensor> {
  return Object.fromEntries(
    infos.map(({ name, dims }, seed) => [name, { type: 'float32', dims, data: numbers(elementCount(dims), seed) }]),
  )
}

interface Outcome {
  readonly image: PlainTensor
  readonly memory: MemorySnapshot
  readonly needs: readonly ComponentNeeds[]
  /** Bytes that stay beside the networks. */
  readonly held: number
}

/** One step of a fixture's first case. */
async function makeImage(
  name: string,
  repository: Repository,
  spec: PipelineFamily,
  options: LoadPipelineOptions,
): Promise<Outcome> {
  const { item } = await fetchCase(name)
  const call = { ...caseOptions(item, ''), numInferenceSteps: 1, guidanceScale: 0 }
  const opened = await openPipeline(repository, { ...options, device: 'webgpu' }, [spec])
  const { networks } = opened.parts
  const { device, dtype } = opened.hosts.of('transformer')
  const factor = autoencoderOf(networks)?.model.scaleFactor ?? 8
  const { maxSequenceLength } = call
  const size = { width: item.width / factor, height: item.height / factor, guided: false, maxSequenceLength }
  const request = { device, networks, here: () => true, dtype, vaeTiling: undefined, size }
  const needs = needsOn(request)
  const pipeline = createPipeline(opened)
  try {
    const { captured } = await pipeline.generate(item.prompt, { ...call, capture: ['image'] })
    return { image: captured!['image']!, memory: device.memory.snapshot(), needs, held: heldOn(request, needs) }
  } finally {
    await pipeline.dispose()
    expect(device.memory.snapshot()).toMatchObject({ live: 0, liveWeights: 0 })
  }
}

describe.each(families)('%s', (name, repository, spec) => {
  test('one component at a time, quantized: the same bits as with all of them there, within the plan', async () => {
    const dtype = 'q8'
    const whole = await makeImage(name, repository, spec, { dtype, offload: 'resident' })
    const { needs, held } = whole
    expect(whole.memory.peakWeights).toBe(needs.reduce((sum, need) => sum + weightBytes(need), 0))

    const inTurn = await makeImage(name, repository, spec, { dtype, offload: 'model' })
    expect(inTurn.image).toEqual(whole.image)
    // The encoder and the transformer are never there together.
    expect(inTurn.memory.peakWeights).toBe(Math.max(...needs.map(weightBytes)))
    const plan = orThrow(planMemory(needs, { offload: 'model', maxMemory: 1e9, heldBytes: held }))
    expect(inTurn.memory.peak).toBeLessThanOrEqual(plan.peakBytes)
    for (const need of needs) expect(inTurn.memory.components[need.name]?.peakWeights, need.name).toBe(weightBytes(need))
  })

  test.each(['float32', 'q4'] as const)(
    '%s: the language model and the transformer in blocks, within the plan, with the same bits',
    async (dtype) => {
      const opened = await openPipeline(repository, { dtype, device: 'webgpu' }, [spec])
      try {
        const { device } = opened.hosts.of('transformer')
        for (const component of ['text_encoder', 'transformer'] as const) {
          const size = { height: 8, width: 8, maxSequenceLength: 64, guided: false }
          const network = opened.parts.networks.get(component)!
          const shapes = network.model.shapes(size)
          const options = graphOptions(network, { device, dtype: 'float32', granularity: 'block' })
          const needs = networkNeeds(network, shapes, options)
          const inputs = inputsOf(network.model.write(shapes, options).inputs)
          const runIn = async (offload: 'model' | 'block', limit?: number) => {
            const host = new ComponentHost({ device, dtype: 'float32', offload, budget: { limit } })
            device.memory.resetPeaks()
            const run = new Run({})
            await host.fit(new Map([[component, network]]), () => true, size, run)
            const outputs = await host.run(network, inputs, run)
            const values = await Promise.all(Object.values(outputs).map((tensor) => tensor.read()))
            for (const tensor of Object.values(outputs)) tensor.dispose()
            const memory = device.memory.snapshot()
            await host.settle()
            return { values, memory }
          }
          // One block at a time, since two of its few blocks are almost all of its weights.
          const networks = new Map([[component, network]])
          const held = heldOn({ device, networks, size }, [needs])
          const maxMemory =
            held + needs.sharedBytes + Math.max(...needs.blocks.map(({ bytes }) => bytes)) + leastActivations(needs)
          const [part] = orThrow(planMemory([needs], { offload: 'block', maxMemory, heldBytes: held })).components
          expect(part?.streamedBytes).toBeGreaterThan(0)
          const whole = await runIn('model')
          const inBlocks = await runIn('block', maxMemory)
          expect(inBlocks.values).toEqual(whole.values)
          expect(inBlocks.memory.peak).toBeLessThanOrEqual(maxMemory)
          expect(inBlocks.memory.peakWeights).toBe(part?.peakWeightBytes)
          expect(part?.peakWeightBytes).toBeLessThan(whole.memory.peakWeights)
        }
      } finally {
        await opened.hosts.dispose()
        opened.close()
      }
    },
  )
})
