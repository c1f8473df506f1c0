import { expect, test } from 'vitest'
import { activationBytes } from './liveness.js'
import type { GraphNode } from './model-proto.js'

function node(opType: string, inputs: string[], outputs: string[]): GraphNode {
  return { opType, domain: '', name: outputs[0] ?? '', inputs, outputs, attributes: {} }
}

const sizes: Record<string, number> = { x: 100, w: 1000, a: 10, b: 10, c: 10, d: 30, e: 10, y: 100 }
const bytesOf = (name: string) => sizes[name] ?? 0

test('a chain of values of equal size needs two of them at once', () => {
  const nodes = [node('Tanh', ['x'], ['a']), node('Tanh', ['a'], ['b']), node('Tanh', ['b'], ['c']), node('Tanh', ['c'], ['y'])]
  expect(activationBytes(nodes, bytesOf, new Set(['y']))).toBe(20)
})

test('a value that is read later stays, and a value of another size does not reuse freed memory', () => {
  const nodes = [
    node('Tanh', ['x'], ['a']),
    node('Tanh', ['a'], ['b']),
    node('Exp', ['b'], ['d']),
    node('Exp', ['d'], ['c']),
    node('Add', ['a', 'c'], ['y']),
  ]
  expect(activationBytes(nodes, bytesOf, new Set(['y']))).toBe(10 + 10 + 30)
})

test('a reshaped value needs no memory of its own', () => {
  const nodes = [node('Tanh', ['x'], ['a']), node('Reshape', ['a', 'shape'], ['b']), node('Tanh', ['b'], ['y'])]
  expect(activationBytes(nodes, bytesOf, new Set(['y']))).toBe(10)
})

test('a convolution counts copies of its operands in another layout', () => {
  expect(activationBytes([node('Conv', ['x', 'w'], ['y'])], bytesOf, new Set(['y']))).toBe(100 + 1000 + 100)
})
