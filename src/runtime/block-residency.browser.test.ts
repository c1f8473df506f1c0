/** Block residency on a real device: a component under a budget computes the same, to the bit, and stays within the budget. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { ByteRange } from '../hub/types.js'
import { BoundNetwork } from './bound-network.js'
import { openDevice } from './open-device.js'
import { numbers, testCheckpoint, towerGraph, towerShapes, towerSizes } from './testing.js'
import { WebGpuDevice } from './webgpu/webgpu-device.js'
import type { Device } from './device.js'
import { bufferBytes, needsOf, stageWeights, type ComponentNeeds } from '../memory/needs.js'
import { planMemory, type ComponentPlan, type WeightPlan } from '../memory/plan.js'
import { orThrow } from '../memory/refusal.js'

const blocks = 12
const x = { type: 'float32', dims: [3, towerSizes.input], data: numbers(3 * towerSizes.input, 5) } as const

let device: Device
beforeEach(async () => {
  device = await openDevice({ kind: 'webgpu' })
})
afterEach(async () => device.dispose())

function tower(plan?: WeightPlan) {
  const { table, source } = testCheckpoint(towerShapes(blocks))
  const graph = towerGraph(blocks, device.writeOptions({ dtype: 'float32', granularity: 'block' }))
  const weights = stageWeights(graph({ x: x.dims }).stages, table)
  const total = weights.own.reduce((sum, own) => sum + bufferBytes(own), 0)
  const component = new BoundNetwork({ name: 'tower', device, table, graph, shapes: { x: x.dims }, plan })
  return { component, source, table, weights, total, needs: needsOf('tower', graph({ x: x.dims }), table) }
}

/** The plan for weights of a tower within `budget` bytes. */
function planWithin(budget: number, needs: ComponentNeeds): ComponentPlan {
  const [{ activationBytes } = { activationBytes: 0 }] = needs.ways
  const plan = orThrow(planMemory([needs], { offload: 'block', maxMemory: budget + activationBytes }))
  return plan.components[0]!
}

async function run(component: BoundNetwork, signal?: AbortSignal): Promise<Float32Array> {
  const { y } = await component.run({ x }, { signal })
  const values = await y!.read()
  y!.dispose()
  return values
}

test('budgets of 100, 50, 25 and 10 % of the weights give the same bits and are not exceeded', async () => {
  const { component, total, needs } = tower()
  const whole = await run(component)
  const reads = []
  for (const share of [1, 0.5, 0.25, 0.1]) {
    const budget = Math.floor(total * share)
    const plan = planWithin(budget, needs)
    await component.setPlan(plan)
    device.memory.resetPeaks()
    for (let i = 0; i < 3; i++) expect(await run(component)).toEqual(whole)
    // The plan is exact: two slots are full while one block runs and the next arrives.
    expect(device.memory.snapshot().peakWeights).toBe(plan.peakWeightBytes)
    expect(plan.peakWeightBytes).toBeLessThanOrEqual(budget)
    reads.push(plan.streamedBytes)
  }
  expect(reads).toEqual(reads.toSorted((a, b) => a - b))
  expect(reads[0]).toBe(0)
  await component.dispose()
  expect(device.memory.snapshot()).toMatchObject({ live: 0, liveWeights: 0 })
})

test('a streamed run compiles nothing again', async () => {
  const { component, total, needs } = tower()
  await run(component)
  await component.setPlan(planWithin(total / 4, needs))
  await run(component)
  expect(device instanceof WebGpuDevice && device.sessions.counts).toEqual({ alive: 3, created: 3 })
  await component.dispose()
})

test('a plan of another graph that leaves too little for the largest block is refused before anything is read', async () => {
  const { component, source, weights } = tower({ weightBudget: 100, blocks: [] })
  const needed = Math.max(...weights.own.map(bufferBytes))
  await expect(run(component)).rejects.toMatchObject({
    code: 'does-not-fit',
    details: { component: 'tower', needed, offered: 100 },
  })
  expect(source.reads).toBe(0)
  expect(device.memory.snapshot().live).toBe(0)
  await component.dispose()
})

test('a streamed run that is cancelled or fails leaves no more than the budget, and the next one is correct', async () => {
  const { component, source, total, needs } = tower()
  const whole = await run(component)
  const budget = Math.floor(total / 4)
  await component.setPlan(planWithin(budget, needs))
  await component.load()
  for (const stopAt of [1, 4, 7]) {
    const controller = new AbortController()
    const from = source.reads
    source.onRead = (read) => {
      if (read >= from + stopAt) controller.abort()
    }
    await expect(run(component, controller.signal)).rejects.toMatchObject({ name: 'AbortError' })
    source.onRead = () => Promise.reject(new Error('the disk is gone'))
    await expect(run(component)).rejects.toThrow('the disk is gone')
    source.onRead = () => {}
    expect(device.memory.snapshot().peakWeights).toBeLessThanOrEqual(total)
    expect(device.memory.snapshot().liveWeights).toBeLessThanOrEqual(budget)
    expect(await run(component)).toEqual(whole)
  }
  await component.unload()
  expect(device.memory.snapshot().liveWeights).toBe(0)
  await component.dispose()
})

/** The stages whose weights are in this range of a tower's file. */
function stagesOf({ table }: ReturnType<typeof tower>, { begin, end }: ByteRange): string[] {
  const read = [...table.values()].filter((tensor) => tensor.begin < end && tensor.end > begin)
  return [...new Set(read.map(({ name }) => name.slice(0, name.lastIndexOf('.'))))]
}

/** A tower's stages in order. */
const stageNames = ['first', ...Array.from({ length: blocks }, (_, block) => `blocks.${block}`), 'last']

test('while a block runs, the next block’s weights are uploaded, and the run does not wait for them', async () => {
  const own = tower()
  const { component, source, needs, total } = own
  const whole = await run(component)
  const plan = planWithin(Math.floor(total / 4), needs)
  await component.setPlan(plan)
  // From the second run on, the network uploads the first streamed block again at the end of a run, for the next run.
  for (let i = 0; i < 2; i++) await run(component)
  const streamed = stageNames.filter((_, index) => plan.blocks[index]?.place === 'streamed')

  const events: string[] = []
  const ended = new Map<string, () => void>()
  const ends = new Map(stageNames.map((name) => [name, new Promise<void>((resolve) => ended.set(name, resolve))]))
  // Equal blocks share a session, so the test distinguishes stages by the order of the calls.
  const { sessions } = device as WebGpuDevice
  const get = sessions.get.bind(sessions)
  let calls = 0
  vi.spyOn(sessions, 'get').mockImplementation(async (...call) => {
    const name = stageNames[calls++] ?? ''
    const session = await get(...call)
    return Object.assign(Object.create(session) as typeof session, {
      run: async (...feeds: Parameters<typeof session.run>) => {
        const results = await session.run(...feeds)
        events.push(`ran ${name}`)
        ended.get(name)?.()
        return results
      },
    })
  })
  source.onRead = async (_, range) => {
    const [name = ''] = stagesOf(own, range)
    events.push(`reads ${name}`)
    // A read ends only when the streamed stage before this one has run to its end.
    await ends.get(streamed[streamed.indexOf(name) - 1] ?? '')
  }
  expect(await run(component)).toEqual(whole)
  source.onRead = () => {}
  vi.restoreAllMocks()
  // Only blocks that reuse the buffers of an equal block are checked: their reads begin before the block ahead has run. For other blocks,
  // new buffers are created first.
  const equal = streamed.filter((name, index) => [name, streamed[index - 2]].every((one) => one?.startsWith('blocks.')))
  expect(equal.length).toBeGreaterThan(blocks / 2)
  for (const name of equal) {
    const ahead = streamed[streamed.indexOf(name) - 1]!
    expect(events.indexOf(`ran ${ahead}`), name).toBeGreaterThan(events.indexOf(`reads ${name}`))
  }
  await component.dispose()
})

test('two graphs with the same weights that alternate never load kept weights again', async () => {
  const own = tower()
  const { source, needs, total } = own
  const without = [2, 3, 7]
  const options = device.writeOptions({ dtype: 'float32', granularity: 'block' })
  const component = new BoundNetwork({
    name: 'tower',
    device,
    table: own.table,
    graph: (shapes, _, variant) => towerGraph(blocks, options, variant === 'less' ? without : [])(shapes),
    shapes: { x: x.dims },
  })
  const values = async (variant: string | undefined) => {
    const { y } = await component.run({ x }, { variant })
    const read = await y!.read()
    y!.dispose()
    return read
  }
  const expected = { all: await values(undefined), less: await values('less') }
  expect(expected.less).not.toEqual(expected.all)
  const budget = Math.floor(total / 2)
  const plan = planWithin(budget, needs)
  const streamed = stageNames.filter((_, index) => plan.blocks[index]?.place === 'streamed')
  expect(streamed.length).toBeGreaterThan(3)
  await component.setPlan(plan)
  device.memory.resetPeaks()
  expect(await values(undefined)).toEqual(expected.all)
  for (let turn = 0; turn < 3; turn++) {
    for (const [variant, wanted] of [
      ['less', expected.less],
      [undefined, expected.all],
    ] as const) {
      const read = new Set<string>()
      source.onRead = (_, range) => stagesOf(own, range).forEach((name) => read.add(name))
      expect(await values(variant)).toEqual(wanted)
      source.onRead = () => {}
      for (const name of read) expect(streamed).toContain(name)
    }
  }
  expect(device.memory.snapshot().peakWeights).toBeLessThanOrEqual(budget)
  await component.dispose()
  await own.component.dispose()
})

test('a network moves to another device', async () => {
  const { component } = tower()
  const there = await run(component)
  const next = await openDevice({ kind: 'webgpu' })
  await component.moveTo(next)
  expect(device.memory.snapshot().live).toBe(0)
  expect(await run(component)).toEqual(there)
  expect(next.memory.snapshot().liveWeights).toBeGreaterThan(0)
  await component.dispose()
  expect(next.memory.snapshot().live).toBe(0)
  await next.dispose()
})
