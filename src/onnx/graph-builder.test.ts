/** Tests the graph writer: the encoding of models, operators, programs and components. */
import { readdirSync, readFileSync } from 'node:fs'
import * as ort from 'onnxruntime-web/wasm'
import { expect, test } from 'vitest'
import { ComponentBuilder } from './component-builder.js'
import { floats, int32s, integers, scalar } from './constants.js'
import { contentKey } from './content-key.js'
import { GraphBuilder } from './graph-builder.js'
import { encodeModel } from './model-proto.js'
import { add, gelu, matMul, mul, quickGelu, relu, scale, silu, softmax, sub } from './ops-math.js'
import { conv } from './ops-network.js'
import { concat, dimension, gather, reshape, resizeNearest, slice, split, transpose } from './ops-shape.js'
import { ProtobufWriter } from './protobuf.js'
import type { ValueInfo, WriteOptions } from './types.js'

ort.env.wasm.numThreads = 1

const options: WriteOptions = { dtype: 'float32', weights: 'input', granularity: 'component' }

/** Runs a graph with one input on these values. */
async function evaluate(
  dims: readonly number[],
  values: readonly number[],
  body: (graph: GraphBuilder, x: ValueInfo) => ValueInfo,
) {
  const graph = new GraphBuilder(options)
  const result = body(graph, graph.input('x', 'float32', dims))
  graph.output('y', result)
  const program = graph.finish('test')
  const session = await ort.InferenceSession.create(program.model, { logSeverityLevel: 3 })
  const { y } = await session.run({ x: new ort.Tensor('float32', Float32Array.from(values), dims) })
  await session.release()
  expect(y!.dims).toEqual(result.dims)
  return Array.from(y!.data as Float32Array)
}

const sigmoid = (value: number) => 1 / (1 + Math.exp(-value))

const close = (actual: readonly number[], expected: readonly number[]) => {
  expect(actual).toHaveLength(expected.length)
  for (const [index, value] of expected.entries()) expect(actual[index]).toBeCloseTo(value, 5)
}

test('protobuf: varints, negative numbers, floats and nested messages match the encoding guide', () => {
  const bytes = new ProtobufWriter()
    .integer(1, 150)
    .integer(2, -1)
    .string(3, 'testing')
    .float(4, 1)
    .message(5, (inner) => inner.packedIntegers(4, [3, 270, 86942]))
    .finish()
  const expected =
    '08 96 01 10 ff ff ff ff ff ff ff ff ff 01 1a 07 74 65 73 74 69 6e 67 25 00 00 80 3f 2a 08 22 06 03 8e 02 9e a7 05'
  expect(Buffer.from(bytes).toString('hex')).toBe(expected.replaceAll(' ', ''))
})

test('protobuf: integers beyond 32 bits and buffers that grow', () => {
  const bytes = new ProtobufWriter()
    .integer(1, 2 ** 40 + 1)
    .bytes(2, new Uint8Array(5000))
    .finish()
  expect(Buffer.from(bytes.subarray(0, 10)).toString('hex')).toBe('08818080808020128827')
  expect(bytes).toHaveLength(5010)
})

test.each([0, 1, 127, 128, 16_383, 16_384, 70_000])(
  'protobuf: a nested message of %i bytes is written as its bytes are',
  (size) => {
    const content = Uint8Array.from({ length: size }, (_, index) => index)
    const inner = new ProtobufWriter().bytes(1, content).string(2, 'é✓🙂').finish()
    const nested = new ProtobufWriter()
      .string(3, 'before')
      .message(7, (outer) => outer.message(8, (proto) => proto.bytes(1, content).string(2, 'é✓🙂')))
      .string(4, 'after')
      .finish()
    const whole = new ProtobufWriter().bytes(8, inner).finish()
    expect(nested).toEqual(new ProtobufWriter().string(3, 'before').bytes(7, whole).string(4, 'after').finish())
    expect(Buffer.from(inner.subarray(-9)).equals(Buffer.from('é✓🙂'))).toBe(true)
  },
)

test('elementwise operators compute what ONNX specifies', async () => {
  const x = [-2, -0.5, 0, 3]
  close(
    await evaluate([4], x, silu),
    x.map((value) => value * sigmoid(value)),
  )
  close(
    await evaluate([4], x, (graph, v) => quickGelu(graph, v)),
    x.map((value) => value * sigmoid(1.702 * value)),
  )
  close(await evaluate([4], x, (graph, v) => gelu(graph, v)), [-0.04550026, -0.15426877, 0, 2.99595031])
  close(await evaluate([4], x, (graph, v) => gelu(graph, v, 'tanh')), [-0.04540229, -0.15428599, 0, 2.99636261])
  close(await evaluate([4], x, relu), [0, 0, 0, 3])
  close(await evaluate([4], x, (graph, v) => sub(graph, scale(graph, v, 2), scalar(graph, 1))), [-5, -2, -1, 5])
  close(await evaluate([2, 2], x, (graph, v) => add(graph, v, floats(graph, [10, 20], [2, 1]))), [8, 9.5, 20, 23])
  close(await evaluate([2, 2], x, (graph, v) => mul(graph, v, v)), [4, 0.25, 0, 9])
  close(await evaluate([2, 2], [0, Math.log(3), 1, 1], softmax), [0.25, 0.75, 0.5, 0.5])
  close(await evaluate([2, 2], [1, 2, 3, 4], (graph, v) => matMul(graph, v, transpose(graph, v, [1, 0]))), [5, 11, 11, 25])
})

test('shape operators move elements as ONNX specifies', async () => {
  const x = [0, 1, 2, 3, 4, 5]
  close(await evaluate([2, 3], x, (graph, v) => transpose(graph, v, [1, 0])), [0, 3, 1, 4, 2, 5])
  close(await evaluate([2, 3], x, (graph, v) => slice(graph, v, 1, 1, 3)), [1, 2, 4, 5])
  close(await evaluate([2, 3], x, (graph, v) => concat(graph, [v, v], 1)), [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5])
  close(await evaluate([3, 2], x, (graph, v) => gather(graph, v, int32s(graph, [2, 0, 2], [3]))), [4, 5, 0, 1, 4, 5])
  close(
    await evaluate([1, 1, 2, 3], x, (graph, v) => resizeNearest(graph, v, 3, 6)),
    [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5],
  )
  const parts = await evaluate(
    [1, 20],
    Array.from({ length: 20 }, (_, index) => index),
    (graph, v) => concat(graph, split(graph, v, [1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 5], 1).toReversed(), 1),
  )
  expect(parts).toEqual([15, 16, 17, 18, 19, 13, 14, 12, 10, 11, 9, 7, 8, 6, 4, 5, 3, 1, 2, 0])
})

test('no Split has more outputs than a shader has buffers', () => {
  const graph = new GraphBuilder(options)
  const parts = split(
    graph,
    graph.input('x', 'float32', [1, 90]),
    Array.from({ length: 90 }, () => 1),
    1,
  )
  expect(parts).toHaveLength(90)
  for (const part of parts) graph.output(`out_${part.name}`, part)
  const outputsOf = new Map<string, number>()
  for (const { name } of graph.finish('x').outputs) {
    const node = name.replace('out_', '').replace(/_\d+$/, '')
    outputsOf.set(node, (outputsOf.get(node) ?? 0) + 1)
  }
  expect(Math.max(...outputsOf.values())).toBeLessThanOrEqual(7)
})

test('operators reject impossible dims', () => {
  const graph = new GraphBuilder(options)
  const x = graph.input('x', 'float32', [2, 3])
  expect(() => reshape(graph, x, [7])).toThrow('[2,3] to [7]')
  expect(() => slice(graph, x, 1, 2, 4)).toThrow('Cannot slice')
  expect(() => split(graph, x, [1, 1], 1)).toThrow('Cannot split')
  expect(() => add(graph, x, floats(graph, [1, 2]))).toThrow('broadcast')
  expect(() => add(graph, x, scalar(graph, 1, 'float16'))).toThrow('float32 and float16')
  expect(() => matMul(graph, x, x)).toThrow('MatMul')
  expect(() => dimension(x, 2)).toThrow('no axis 2')
})

test('only the ops files add operators, so odd-widths.browser.test.ts, which tests each of their functions, tests every operator', () => {
  const source = new URL('../', import.meta.url)
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(
    (name) => name.endsWith('.ts') && !name.includes('test'),
  )
  const adding = files.filter((name) => readFileSync(new URL(name, source), 'utf8').includes('.node({'))
  expect(adding.toSorted()).toEqual(['onnx/ops-math.ts', 'onnx/ops-network.ts', 'onnx/ops-shape.ts'])
})

test('a program cannot use a name twice', () => {
  const graph = new GraphBuilder(options)
  const x = graph.input('x', 'float32', [2])
  expect(() => graph.input('x', 'float32', [2])).toThrow('twice')
  graph.weight('w', [2])
  expect(() => graph.scoped('', () => graph.weight('w', [2]))).toThrow('twice')
  graph.output('y', add(graph, x, x))
  expect(() => graph.output('y', x)).toThrow('twice')
})

test('an output can be an input, a constant, or a value that already is an output', async () => {
  const graph = new GraphBuilder(options)
  const x = graph.input('x', 'float32', [2])
  const sum = add(graph, x, x)
  graph.output('input', x)
  graph.output('first', sum)
  graph.output('second', sum)
  graph.output('constant', floats(graph, [7]))
  const session = await ort.InferenceSession.create(graph.finish('test').model, { logSeverityLevel: 3 })
  const results = await session.run({ x: new ort.Tensor('float32', [1, 2]) })
  await session.release()
  const plain = Object.entries(results).map(([name, { data }]) => [name, Array.from(data as Float32Array)])
  expect(Object.fromEntries(plain)).toEqual({ input: [1, 2], first: [2, 4], second: [2, 4], constant: [7] })
})

/** A component of two equal Linears and a wider one. */
function component(granularity: 'component' | 'block', weights: 'input' | 'initializer') {
  const builder = new ComponentBuilder('test', { dtype: 'float32', weights, granularity })
  let hidden = builder.input('x', 'float32', [1, 2])
  for (const [name, width] of [
    ['a', 2],
    ['b', 2],
    ['c', 3],
  ] as const) {
    const stage = builder.stage(`layers.${name}`, { hidden }, (graph, inputs) => ({
      hidden: matMul(graph, inputs.hidden, graph.weight('weight', [2, width])),
    }))
    hidden = stage.hidden
  }
  builder.output('y', hidden)
  return builder.finish()
}

/** A component with a stage that runs once: y = x + once(prompt · w). */
function componentWithOnce(granularity: 'component' | 'block') {
  const builder = new ComponentBuilder('test', { dtype: 'float32', weights: 'initializer', granularity })
  const x = builder.input('x', 'float32', [1, 2])
  const prompt = builder.input('prompt', 'float32', [1, 2])
  const { doubled } = builder.onceStage('double', { prompt }, (graph, inputs) => ({
    doubled: add(graph, inputs.prompt, inputs.prompt),
  }))
  const { key } = builder.onceStage('attn', { doubled }, (graph, inputs) => ({
    key: matMul(graph, inputs.doubled, graph.weight('weight', [2, 2])),
  }))
  const { y } = builder.stage('sum', { x, key }, (graph, inputs) => ({ y: add(graph, inputs.x, inputs.key) }))
  expect(() => builder.onceStage('bad', { y }, (_, inputs) => inputs)).toThrow('cannot depend')
  builder.output('y', y)
  return builder.finish()
}

test('stages that run once come first, and the others read their results', () => {
  const blocks = componentWithOnce('block')
  expect(blocks.stages.map(({ name, once }) => [name, once === true])).toEqual([
    ['double', true],
    ['attn', true],
    ['sum', false],
  ])
  const { stages, inputs } = componentWithOnce('component')
  expect(inputs.map(({ name }) => name)).toEqual(['x', 'prompt'])
  expect(
    stages.map(({ once, inputs, weights, outputs }) => [once === true, inputs, weights, outputs].map((part) => part)),
  ).toEqual([
    [true, { prompt: 'prompt' }, { 'attn.weight': 'attn.weight' }, { 'attn/key': 'attn/key' }],
    [false, { x: 'x', 'attn/key': 'attn/key' }, {}, { y: 'y' }],
  ])
})

test('equal stages share a program, and their weights keep their own names', () => {
  const { stages, inputs, outputs } = component('block', 'input')
  expect(stages.map(({ name }) => name)).toEqual(['layers.a', 'layers.b', 'layers.c'])
  expect(stages[0]!.program).toBe(stages[1]!.program)
  expect(stages[2]!.program.key).not.toBe(stages[0]!.program.key)
  expect(stages.map(({ weights }) => weights)).toEqual(['a', 'b', 'c'].map((name) => ({ weight: `layers.${name}.weight` })))
  expect(stages.map(({ inputs }) => inputs.hidden)).toEqual(['x', 'layers.a/hidden', 'layers.b/hidden'])
  expect(Object.values(stages[2]!.outputs)).toEqual(['y'])
  expect(inputs).toEqual([{ name: 'x', type: 'float32', dims: [1, 2] }])
  expect(outputs).toEqual([{ name: 'y', type: 'float32', dims: [1, 3] }])
})

test('with granularity component there is one program with full weight names, and its bytes are the same each time', () => {
  const { stages } = component('component', 'initializer')
  expect(stages).toHaveLength(1)
  const [{ program, weights }] = stages as [(typeof stages)[0]]
  expect(Object.entries(weights)).toEqual(['a', 'b', 'c'].map((name) => [`layers.${name}.weight`, `layers.${name}.weight`]))
  expect(component('component', 'initializer').stages[0]!.program.key).toBe(program.key)
  expect(component('component', 'input').stages[0]!.program.key).not.toBe(program.key)
})

test('an external initializer is found by its name, at offset 0', async () => {
  const { program } = component('component', 'initializer').stages[0]!
  const externalData = program.weights.map(({ name, dims }) => {
    const values = new Float32Array(dims[0]! * dims[1]!)
    for (let row = 0; row < 2; row++) values[row * dims[1]! + row] = name.includes('b') ? 3 : 1
    return { path: name, data: new Uint8Array(values.buffer) }
  })
  const session = await ort.InferenceSession.create(program.model, { externalData, logSeverityLevel: 3 })
  const { y } = await session.run({ x: new ort.Tensor('float32', [1, 2], [1, 2]) })
  await session.release()
  expect(Array.from(y!.data as Float32Array)).toEqual([3, 6, 0])
})

test('content keys depend on every byte and on the length', () => {
  const keys = new Set<string>()
  for (let position = 0; position < 64; position++) {
    for (const value of [1, 128, 255]) {
      const bytes = new Uint8Array(67)
      bytes[position] = value
      keys.add(contentKey(bytes))
    }
  }
  for (let length = 0; length < 64; length++) keys.add(contentKey(new Uint8Array(length)))
  expect(keys.size).toBe(64 * 3 + 64)
  expect([...keys].every((key) => /^[0-9a-f]{32}$/.test(key))).toBe(true)
})

test('float16 constants are rounded, int64 constants are not', () => {
  const graph = new GraphBuilder({ ...options, dtype: 'float16' })
  floats(graph, [1, -2, 65504, 0.1])
  integers(graph, [-1, 2])
  const parts = { name: 'x', nodes: [], externals: [], inputs: [], outputs: [] }
  const model = Buffer.from(graph.finish('x').model).toString('hex')
  expect(model).toContain('003c00c0ff7b662e')
  expect(model).toContain('ffffffffffffffff0200000000000000')
  expect(encodeModel({ ...parts, constants: [] }).length).toBeLessThan(100)
})

test('only weights that nothing but convolutions reads have channels last', () => {
  const graph = new GraphBuilder({ dtype: 'float32', weights: 'input', granularity: 'component', channelsLastWeights: true })
  const x = graph.input('x', 'float32', [1, 4, 8, 8])
  const weights = ['convolution', 'both', 'sum'].map((name) => graph.weight(name, [4, 4, 1, 1]))
  const [convolution, both, sum] = weights as [ValueInfo, ValueInfo, ValueInfo]
  const vector = graph.weight('vector', [1, 4, 1, 1])
  graph.output('y', conv(graph, conv(graph, conv(graph, x, convolution, undefined), both, undefined), vector, undefined))
  graph.output('z', add(graph, both, sum))
  const marked = graph.finish('order').weights.filter(({ channelsLast }) => channelsLast === true)
  expect(marked.map(({ name }) => name)).toEqual(['convolution'])
})
