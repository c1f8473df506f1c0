/**
 * One step of tiny pipelines on a real GPU device: the measured peaks are within the plans, the text encoders are unloaded before the
 * transformer is loaded, and weights that are streamed give the same bits as weights that stay on the GPU, also if they are quantized.
 * New families must be added to the list in this file.
 */

import { describe, expect, test } from 'vitest'
import type { Repository } from '../../hub/types.js'
import { weightBytes, type ComponentNeeds } from '../../memory/needs.js'
import { leastActivations, planMemory, type Residence } from '../../memory/plan.js'
import { orThrow } from '../../memory/refusal.js'
import type { MemorySnapshot } from '../../runtime/types.js'
import { shareGpuDevices } from '../../runtime/webgpu/testing-shared-gpu.js'
import { families } from '../families.js'
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
import { autoencoderOf, denoiserOf, heldOn, needsOn, networkNeeds } from './memory-needs.js'

shareGpuDevices()

interface Measured {
  readonly fixture: string
  readonly repository: Repository
  /** The components that run in blocks here. */
  readonly inBlocks: readonly ('text_encoder' | 'text_encoder_3' | 'transformer' | 'unet')[]
  /** The type of the weights for a whole picture. Default `q8`. */
  readonly dtype?: 'q4'
}

/** For each pipeline class, what is measured here, or the file that measures this class or one with the same networks. */
const measured: Readonly<Record<string, Measured | `${string}.browser.test.ts`>> = {
  StableDiffusionPipeline: 'families.isolated.browser.test.ts',
  LatentConsistencyModelPipeline: {
    fixture: 'few-steps/lcm',
    repository: servedRepository('few-steps/lcm', import.meta.glob('../../../fixtures/few-steps/lcm/repo/**')),
    // families.isolated.browser.test.ts runs a UNet in blocks.
    inBlocks: [],
  },
  StableDiffusionXLPipeline: 'budget.browser.test.ts',
  StableDiffusion3Pipeline: 'families.isolated.browser.test.ts',
  FluxPipeline: {
    fixture: 'tiny-flux',
    repository: servedRepository('tiny-flux', import.meta.glob('../../../fixtures/tiny-flux/repo/**')),
    inBlocks: ['transformer'],
  },
  ChromaPipeline: {
    fixture: 'tiny-chroma',
    repository: servedRepository('tiny-chroma', import.meta.glob('../../../fixtures/tiny-chroma/repo/**')),
    inBlocks: ['transformer'],
  },
  Flux2KleinPipeline: {
    fixture: 'tiny-flux2-klein',
    repository: servedRepository('tiny-flux2-klein', import.meta.glob('../../../fixtures/tiny-flux2-klein/repo/**')),
    inBlocks: ['text_encoder', 'transformer'],
  },
  ZImagePipeline: {
    fixture: 'tiny-z-image',
    repository: servedRepository('tiny-z-image', import.meta.glob('../../../fixtures/tiny-z-image/repo/**')),
    inBlocks: ['text_encoder', 'transformer'],
  },
}

/** More fixtures of these classes. Their networks have another structure, or `measured` names another test file for the class. */
const alsoMeasured: readonly (readonly [className: string, Measured])[] = [
  [
    'StableDiffusion3Pipeline',
    {
      fixture: 'tiny-sd3',
      repository: servedRepository('tiny-sd3', import.meta.glob('../../../fixtures/tiny-sd3/repo/**')),
      inBlocks: ['text_encoder_3', 'transformer'],
    },
  ],
  [
    'StableDiffusion3Pipeline',
    {
      fixture: 'tiny-sd35',
      repository: servedRepository('tiny-sd35', import.meta.glob('../../../fixtures/tiny-sd35/repo/**')),
      inBlocks: ['transformer'],
      dtype: 'q4',
    },
  ],
  [
    'StableDiffusion3Pipeline',
    {
      fixture: 'few-steps/sd35-large',
      repository: servedRepository('few-steps/sd35-large', import.meta.glob('../../../fixtures/few-steps/sd35-large/repo/**')),
      inBlocks: ['transformer'],
    },
  ],
  [
    'StableDiffusionXLPipeline',
    {
      fixture: 'few-steps/edm',
      repository: servedRepository('few-steps/edm', import.meta.glob('../../../fixtures/few-steps/edm/repo/**')),
      inBlocks: ['unet'],
      dtype: 'q4',
    },
  ],
  [
    'FluxPipeline',
    {
      fixture: 'few-steps/flux-schnell',
      repository: servedRepository(
        'few-steps/flux-schnell',
        import.meta.glob('../../../fixtures/few-steps/flux-schnell/repo/**'),
      ),
      inBlocks: ['transformer'],
      dtype: 'q4',
    },
  ],
  [
    'Flux2KleinPipeline',
    {
      fixture: 'tiny-flux2-klein-base',
      repository: servedRepository('tiny-flux2-klein-base', import.meta.glob('../../../fixtures/tiny-flux2-klein-base/repo/**')),
      inBlocks: ['transformer'],
      dtype: 'q4',
    },
  ],
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

/** Runs one step of a fixture's first case. */
async function makeImage(
  { fixture, repository }: Measured,
  spec: PipelineFamily,
  options: LoadPipelineOptions,
): Promise<Outcome> {
  const { item } = await fetchCase(fixture)
  const call = { ...caseOptions(item, ''), numInferenceSteps: 1, guidanceScale: 0 }
  const opened = await openPipeline(repository, { ...options, device: 'webgpu' }, [spec])
  const { networks } = opened.parts
  const { device, dtype } = opened.hosts.of(denoiserOf(networks)!.name)
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

const files = Object.keys(import.meta.glob('./*.browser.test.ts'))

test('each family is measured', () => {
  expect(Object.keys(measured).toSorted()).toEqual(families.map(({ className }) => className).toSorted())
  for (const where of Object.values(measured)) if (typeof where === 'string') expect(files).toContain(`./${where}`)
})

const here = [...Object.entries(measured), ...alsoMeasured].flatMap(([className, own]) => {
  const spec = families.find((family) => family.className === className)
  return spec === undefined || typeof own === 'string' ? [] : [[className, own.fixture, own, spec] as const]
})

describe.each(here)('%s, %s', (_class, _fixture, own, spec) => {
  const { dtype = 'q8' } = own
  test(`one component at a time, in ${dtype}: the same image as with all of them loaded, within the plan`, async () => {
    const whole = await makeImage(own, spec, { dtype, offload: 'resident' })
    const { needs, held } = whole
    expect(whole.memory.peakWeights).toBe(needs.reduce((sum, need) => sum + weightBytes(need), 0))

    const inTurn = await makeImage(own, spec, { dtype, offload: 'model' })
    expect(inTurn.image).toEqual(whole.image)
    // No two networks are ever loaded together.
    expect(inTurn.memory.peakWeights).toBe(Math.max(...needs.map(weightBytes)))
    for (const [offload, { memory }] of Object.entries({ resident: whole, model: inTurn })) {
      const plan = orThrow(planMemory(needs, { offload: offload as Residence, maxMemory: 1e9, heldBytes: held }))
      expect(memory.peak, offload).toBeLessThanOrEqual(plan.peakBytes)
    }
    for (const need of needs) expect(inTurn.memory.components[need.name]?.peakWeights, need.name).toBe(weightBytes(need))
  })

  if (own.inBlocks.length === 0) return
  test.each(['float32', 'q4'] as const)('%s: transformers in blocks, within the plan, with the same bits', async (dtype) => {
    const opened = await openPipeline(own.repository, { dtype, device: 'webgpu' }, [spec])
    try {
      const { device } = opened.hosts.of(denoiserOf(opened.parts.networks)!.name)
      for (const component of own.inBlocks) {
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
        // The budget is for one block at a time, since two of the few blocks hold almost all weights.
        const networks = new Map([[component, network]])
        const held = heldOn({ device, networks, size }, [needs])
        const maxMemory = held + needs.sharedBytes + Math.max(...needs.blocks.map(({ bytes }) => bytes)) + leastActivations(needs)
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
  })
})
