/** Runs the packed GPU benchmark on the CPU, where it needs neither Dawn nor Vulkan. `npm run bench:gpu -- --tiny` runs it on a GPU. */
import { execFile } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { packLibrary } from '../gpu.js'
import { readGroups } from './networks.js'

test('the packed script times the tiny networks in float16 and q8, and ends with a table', async () => {
  // The folder is inside the project, whose node_modules have onnxruntime-web.
  const folder = fileURLToPath(new URL('../../dist/gpu-bench-test', import.meta.url))
  await packLibrary(folder)
  const script = await readFile(`${folder}/bench/gpu/run.mjs`, 'utf8')
  // The script may import only Node's modules and onnxruntime-web: no other package is installed where it runs.
  const imported = [...script.matchAll(/^import .*?"([^"]+)";$|\bimport\("([^"]+)"\)/gm)].map(([, fixed, late]) => fixed ?? late)
  expect(imported.length).toBeGreaterThan(3)
  expect(imported.filter((name) => !/^(node:|onnxruntime-web\/)/.test(name ?? ''))).toEqual([])
  const options = ['--tiny', '--device', 'wasm', '--runs', '1', '--python', 'no-such-python']
  const { stdout } = await promisify(execFile)(process.execPath, [`${folder}/bench/gpu/run.mjs`, ...options])
  await rm(folder, { recursive: true })
  expect(stdout).toContain('PyTorch was not timed: spawn no-such-python ENOENT')
  const rows = stdout
    .split('\n')
    .flatMap((line) => (/^\| [^-|\s]/.test(line) ? [line.split(' | ').map((cell) => cell.trim())] : []))
  const names = (await readGroups()).tiny.map(({ name }) => name)
  const quantized = names.filter((name) => !name.includes('decoder'))
  expect(rows.map(([name]) => name?.slice(2))).toEqual(['matrix product', ...names, ...quantized])
  for (const row of rows) {
    expect(row[2]).toBe('float32')
    for (const figure of row.slice(3, 7)) expect(Number(figure)).toBeGreaterThanOrEqual(0)
    expect(Number(row[5])).toBeGreaterThan(0)
    for (const bytes of row.slice(8, 10)) expect(bytes).toMatch(/^[\d.]+ [kM]B$/)
  }
})
