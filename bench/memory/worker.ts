/** Runs one network of a repository on the GPU within a budget, and downloads its files through the cache. */

import { chooseWeightFiles } from '../../src/checkpoint/weight-files.js'
import { readWeightTable } from '../../src/checkpoint/weight-table.js'
import { Hub } from '../../src/hub/hub.js'
import { openRepository } from '../../src/hub/repositories/open-repository.js'
import { networkNeeds } from '../../src/pipelines/planning/memory-needs.js'
import { networkDefinition } from '../../src/models/registry.js'
import { bindNetwork, graphOptions, type Network } from '../../src/pipelines/bind-network.js'
import { quantizingTransforms } from '../../src/pipelines/loading/dtypes.js'
import { transformWeights } from '../../src/pipelines/loading/transform-weights.js'
import { Run } from '../../src/pipelines/run.js'
import { assertHealthy } from '../../src/runtime/health.js'
import { planMemory } from '../../src/memory/plan.js'
import { orThrow } from '../../src/memory/refusal.js'
import { openDevice } from '../../src/runtime/open-device.js'
import type { HostTensor } from '../../src/runtime/types.js'
import type { NetworkRequest, NetworkResult } from './protocol.js'
import { elementCount } from '../../src/util/element-count.js'

const log = (text: string) => postMessage({ log: text })

async function run(request: NetworkRequest): Promise<NetworkResult> {
  const { endpoint, repo, name, className, config, shapes } = request
  const model = networkDefinition(className).fromConfig(config)
  const began = performance.now()
  const hub = await Hub.open()
  const repository = await openRepository(hub, repo, { endpoint })
  const paths = (await repository.files()).map(({ path }) => path)
  const files = chooseWeightFiles(paths, { folder: name, library: model.library, variant: null, missingVariant: 'strict' })
  const original = await readWeightTable(repository, files)
  const downloadSeconds = (performance.now() - began) / 1000
  log(`${original.size} tensors here after ${downloadSeconds.toFixed(1)} s`)

  const quantizing = performance.now()
  const { quantization: word } = request
  const table =
    word === undefined
      ? original
      : (
          await transformWeights(
            {
              component: name,
              transforms: quantizingTransforms(word, model.sensitive),
              label: word,
              contents: [],
              read: () => Promise.resolve(original),
            },
            hub,
            new Run({}),
          )
        ).table
  const quantizeSeconds = (performance.now() - quantizing) / 1000
  if (word !== undefined) log(`${word} made after ${quantizeSeconds.toFixed(1)} s`)

  const device = await openDevice({ kind: 'webgpu' })
  const network: Network = { name, model, table, repo }
  const how = { device, dtype: 'float16', granularity: 'block' } as const
  const needs = networkNeeds(network, shapes, graphOptions(network, how))
  const plan = orThrow(planMemory([needs], { offload: 'block', maxMemory: request.maxMemory ?? Number.MAX_SAFE_INTEGER }))
  device.buffers?.setLimit(plan.peakBytes)
  const component = bindNetwork(network, { ...how, plan: plan.components[0], variantOf: () => ({}) })
  let loggedAt = 0
  device.memory.subscribe(({ live, peak }) => {
    if (performance.now() - loggedAt < 15_000) return
    loggedAt = performance.now()
    log(`${(live / 1e9).toFixed(2)} GB live, peak ${(peak / 1e9).toFixed(2)} GB`)
  }, 1000)
  const inputs: Record<string, HostTensor> = {}
  for (const { name: input, type, dims } of model.write(shapes, graphOptions(network, how)).inputs) {
    const data = new Float32Array(elementCount(dims))
    for (let i = 0; i < data.length; i++) data[i] = Math.sin(i * 12.9898)
    inputs[input] = { type, dims, data }
  }
  const runSeconds: number[] = []
  let largest = 0
  for (let i = 0; i < request.runs; i++) {
    const start = performance.now()
    const outputs = await component.run(inputs)
    for (const [output, tensor] of Object.entries(outputs)) {
      const values = await tensor.read()
      assertHealthy(values, output)
      largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), largest)
      tensor.dispose()
    }
    runSeconds.push((performance.now() - start) / 1000)
    log(`run ${i + 1}: ${runSeconds.at(-1)?.toFixed(1)} s`)
  }
  const memory = device.memory.snapshot()
  await component.dispose()
  await device.dispose()
  repository.close()
  return {
    device: device.info.description,
    downloadSeconds,
    quantizeSeconds,
    runSeconds,
    plannedPeak: plan.peakBytes,
    memory,
    largest,
  }
}

addEventListener('message', ({ data }: MessageEvent<NetworkRequest>) => {
  run(data).then(
    (result) => postMessage({ result }),
    (error: unknown) => postMessage({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  )
})
