/** Type-checks the snippets that import from the project's source, with the project's own settings, and runs them. */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import type { Config } from '../../src/checkpoint/types.js'
import { readJson, readWeights, relativeError, runGraph, type MemoryEntry } from '../../src/models/testing.node.js'
import type { ComponentGraph, WriteOptions } from '../../src/onnx/types.js'
import { findSnippet, readSnippets } from './read-docs.js'

const root = resolve('.').replaceAll('\\', '/')
const folder = mkdtempSync(join(tmpdir(), 'aquatint-source-'))
writeFileSync(join(folder, 'package.json'), '{"type": "module"}')
afterAll(() => rmSync(folder, { recursive: true }))

/** Writes a snippet to a file whose imports resolve to the project's source. Returns the file's path. */
function placed(name: string, code: string): string {
  const path = join(folder, `${name}.ts`)
  writeFileSync(path, code.replaceAll("'../src/", `'${root}/src/`))
  return path
}

test('the snippets have no type errors', () => {
  const snippets = readSnippets('ts').filter(({ code }) => code.includes("'../src/"))
  expect(snippets.map(({ file }) => file)).toEqual(['docs/networks.md', 'docs/new-model-family.md'])
  const files = snippets.map(({ code }, i) => placed(`snippet-${i}`, code))
  const { compilerOptions } = JSON.parse(readFileSync('tsconfig.node.json', 'utf8')) as { compilerOptions: object }
  const options = { ...compilerOptions, typeRoots: [join(root, 'node_modules/@types')], types: ['node'] }
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ extends: join(root, 'tsconfig.base.json'), compilerOptions: options, files }),
  )
  const { stdout } = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', folder], { encoding: 'utf8' })
  expect(stdout).toBe('')
})

test('networks.md’s snippet writes a UNet and matches its weights', async () => {
  const { writeUnet } = (await import(placed('unet', findSnippet('writeUnet', 'ts').code))) as {
    writeUnet: (config: Config, table: ReadonlyMap<string, MemoryEntry>) => ComponentGraph | undefined
  }
  const unet = 'fixtures/tiny-sdxl/repo/unet'
  const config = { ...readJson(join(unet, 'config.json')) }
  expect(writeUnet(config, readWeights(unet))?.outputs).toEqual([
    { name: expect.any(String) as string, type: 'float32', dims: [2, 4, 128, 128] },
  ])
})

const wave = (count: number, phase: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i * 1.7 + phase))

const gelu = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

test('the example of a new network computes what diffusers’ class does', async () => {
  const { pixArtTextProjection } = (await import(placed('projection', findSnippet('pixArtTextProjection', 'ts').code))) as {
    pixArtTextProjection: (config: Config, shape: object, options: WriteOptions) => ComponentGraph
  }
  const [batch, sequenceLength, width, hidden, out] = [2, 3, 5, 4, 6]
  const config: Config = { in_features: width, hidden_size: hidden, out_features: out }
  const shapes = {
    'linear_1.weight': [hidden, width],
    'linear_1.bias': [hidden],
    'linear_2.weight': [out, hidden],
    'linear_2.bias': [out],
  }
  const table = new Map(
    Object.entries(shapes).map(([key, shape], i) => {
      const name = `caption_projection.${key}`
      const bytes = new Uint8Array(
        wave(
          shape.reduce((a, b) => a * b),
          i,
        ).buffer,
      )
      const source = { byteLength: 0, read: () => Promise.reject(new Error('not read')) }
      return [name, { name, dtype: 'F32', shape, source, begin: 0, end: bytes.length, bytes }] satisfies [string, MemoryEntry]
    }),
  )
  const caption = { dims: [batch, sequenceLength, width], data: wave(batch * sequenceLength * width, 9) }

  // linear_2(gelu_tanh(linear_1(x))), in double precision.
  const values = (key: keyof typeof shapes) =>
    new Float32Array(table.get(`caption_projection.${key}`)?.bytes.buffer ?? new ArrayBuffer())
  const linear = (rows: readonly number[][], key: 'linear_1' | 'linear_2') => {
    const [weight, bias] = [values(`${key}.weight`), values(`${key}.bias`)]
    return rows.map((row) => [...bias].map((b, o) => row.reduce((sum, x, i) => sum + x * (weight[o * row.length + i] ?? 0), b)))
  }
  const rows = Array.from({ length: batch * sequenceLength }, (_, r) => [...caption.data.subarray(r * width, (r + 1) * width)])
  const inner = linear(rows, 'linear_1').map((row) => row.map(gelu))
  const expected = { dims: [batch, sequenceLength, out], data: Float32Array.from(linear(inner, 'linear_2').flat()) }

  for (const granularity of ['component', 'block'] as const) {
    const graph = pixArtTextProjection(config, { batch, sequenceLength }, { dtype: 'float32', weights: 'input', granularity })
    const { hidden_states: result } = await runGraph(graph, table, { caption })
    expect(result?.dims).toEqual(expected.dims)
    // The sums have at most six products, in float32.
    expect(relativeError(result, expected)).toBeLessThan(2e-6)
  }
  expect(() =>
    pixArtTextProjection(
      { ...config, act_fn: 'silu' },
      { batch, sequenceLength },
      { dtype: 'float32', weights: 'input', granularity: 'block' },
    ),
  ).toThrow(/act_fn/)
})
