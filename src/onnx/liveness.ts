/**
 * Estimates, from the nodes alone, how many bytes of intermediate values a program needs at once while it runs. Memory plans use it before
 * anything is loaded. It does not count inputs, weights and outputs, which belong to the caller.
 */

import type { GraphNode } from './model-proto.js'

/** Operators whose output is their input with another name or shape. */
const aliases: ReadonlySet<string> = new Set(['Reshape', 'Identity'])

/** Operators that onnxruntime runs in another layout, or that copy their inputs. They need twice the memory that they read and write. */
const copying: ReadonlySet<string> = new Set(['Conv', 'InstanceNormalization', 'MultiHeadAttention', 'Resize'])

/**
 * The bytes that intermediate values need when `nodes` run in order and freed memory is reused only for values of the same size. `bytesOf`
 * returns the size of a value by its name, and 0 for values that do not count.
 */
export function activationBytes(
  nodes: readonly GraphNode[],
  bytesOf: (value: string) => number,
  outputs: ReadonlySet<string>,
): number {
  const root = new Map<string, string>()
  const rootOf = (name: string): string => root.get(name) ?? name
  const lastUse = new Map<string, number>()
  for (const [index, node] of nodes.entries()) {
    const [input] = node.inputs
    if (aliases.has(node.opType) && input !== undefined) for (const output of node.outputs) root.set(output, rootOf(input))
    for (const name of [...node.inputs, ...node.outputs]) lastUse.set(rootOf(name), index)
  }
  const made = new Set(nodes.flatMap((node) => node.outputs))
  let total = 0
  const free = new Map<number, number>()
  const take = (bytes: number) => {
    const shelved = free.get(bytes) ?? 0
    if (shelved > 0) free.set(bytes, shelved - 1)
    else total += bytes
  }
  const give = (bytes: number) => free.set(bytes, (free.get(bytes) ?? 0) + 1)
  for (const [index, node] of nodes.entries()) {
    const own = node.outputs.filter((name) => rootOf(name) === name && !outputs.has(name)).map(bytesOf)
    const copied = copying.has(node.opType) ? [...node.inputs, ...node.outputs].map(bytesOf) : []
    for (const bytes of [...own, ...copied]) take(bytes)
    for (const bytes of copied) give(bytes)
    const ended = new Set([...node.inputs, ...node.outputs].map(rootOf).filter((name) => lastUse.get(name) === index))
    for (const name of ended) if (made.has(name) && !outputs.has(name)) give(bytesOf(name))
  }
  return total
}
