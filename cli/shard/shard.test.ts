/** Compares the output of `aquatint shard` with the files of the real diffusers and transformers, byte by byte. */

import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { dequantizeRows, quantizedLayout, quantizeRows } from '../../src/checkpoint/transforms/quantize-rows.js'
import type { TensorEntry, WeightTable } from '../../src/checkpoint/types.js'
import { readContents } from '../read-contents.js'
import { DiskRepository } from '../disk-repository.js'
import type { ShardResult } from './shard-repository.js'
import { filesBelow, fixtures, float32File, run, runJson, temporaryFolder } from '../testing.js'
import { decodeFloats, isFloatDType } from '../../src/checkpoint/element-types.js'

const temporary = await temporaryFolder()
let count = 0
const fresh = () => join(temporary, String(count++))

/** Shards a folder and returns the result's folder. */
async function shard(folder: string, ...options: string[]): Promise<string> {
  const out = fresh()
  const { code, stderr } = await run(['shard', folder, '--out', out, ...options])
  expect(stderr).not.toMatch(/^aquatint:/m)
  expect(code).toBe(0)
  return out
}

/**
 * The shard sizes with which fixtures/generator split components of diffusers. Components of transformers are compared in
 * save-pretrained.test.ts instead: the generator saves new models, and transformers 5 orders the tensors of a new model in another way than
 * the tensors of a loaded model.
 */
const published = [
  ['tiny-sdxl/repo/unet', 680_000, 3],
  ['tiny-sd15/repo/unet', 800_000, 3],
  ['tiny-sd21/repo/unet', 300_000, 5],
  ['tiny-sd3/repo/transformer', 240_000, 3],
  ['tiny-sd35/repo/transformer', 120_000, 3],
] as const

describe.each(published)('%s in shards of %i bytes', (path, size, shards) => {
  it('is byte for byte what save_pretrained wrote', async () => {
    const folder = join(fixtures, path)
    // Merge the shards into one file first: it has its tensors in the order of their names, not of the modules.
    const merged = await shard(folder, '--max-shard-size', '10GB')
    expect([...(await filesBelow(merged)).keys()].filter((name) => name.endsWith('.safetensors'))).toHaveLength(1)
    const written = await filesBelow(await shard(merged, '--max-shard-size', String(size)))
    const expected = await filesBelow(folder)
    expect([...written.keys()].filter((name) => name.endsWith('.safetensors'))).toHaveLength(shards)
    for (const [name, bytes] of written) expect(Buffer.compare(bytes, expected.get(name) ?? Buffer.alloc(0)), name).toBe(0)
    for (const name of expected.keys()) expect(written.has(name) || name.includes('fp16'), name).toBe(true)
  })
})

describe('--dtype float16', () => {
  it.each([
    ['unet', 340_000],
    ['text_encoder', 10_000_000],
    ['vae', 10_000_000],
  ])('rewrites %s, byte for byte as the variant that diffusers saved', async (name, size) => {
    const folder = join(fixtures, 'tiny-sdxl/repo', name)
    const written = await filesBelow(
      await shard(folder, '--dtype', 'float16', '--save-variant', 'fp16', '--max-shard-size', String(size)),
    )
    const expected = [...(await filesBelow(folder))].filter(([path]) => path.includes('fp16'))
    expect(expected.length).toBeGreaterThan(0)
    for (const [path, bytes] of expected) expect(Buffer.compare(written.get(path) ?? Buffer.alloc(0), bytes), path).toBe(0)
    expect(written.size).toBe(expected.length + 1)
  })

  it('reads a variant and writes it without its name', async () => {
    const out = await shard(join(fixtures, 'tiny-sdxl/repo/vae'), '--variant', 'fp16')
    const expected = await readFile(join(fixtures, 'tiny-sdxl/repo/vae/diffusion_pytorch_model.fp16.safetensors'))
    expect(Buffer.compare(await readFile(join(out, 'diffusion_pytorch_model.safetensors')), expected)).toBe(0)
  })

  it('records the type in the configs of transformers, and changes no other character of any config', async () => {
    const source = await filesBelow(join(fixtures, 'tiny-sdxl/repo'))
    const written = await filesBelow(await shard(join(fixtures, 'tiny-sdxl/repo'), '--dtype', 'float16'))
    const configs = [...written.keys()].filter((path) => path.endsWith('config.json'))
    expect(configs.length).toBeGreaterThan(5)
    for (const path of configs) {
      const expected = String(source.get(path)).replace('"torch_dtype": "float32"', '"torch_dtype": "float16"')
      expect(String(written.get(path))).toBe(expected)
    }
    expect(String(written.get('text_encoder/config.json'))).toContain('"torch_dtype": "float16"')
  })

  it('warns of values that do not fit', async () => {
    const folder = fresh()
    await mkdir(folder)
    await writeFile(join(folder, 'config.json'), '{"_class_name": "Toy"}')
    await writeFile(join(folder, 'diffusion_pytorch_model.safetensors'), float32File({ 'a.weight': [1, 70_000, -1e6] }))
    const { stdout, code } = await run(['shard', folder, '--out', fresh(), '--dtype', 'float16'])
    expect(code).toBe(0)
    expect(stdout).toContain('Warning: 2 values of a.weight are too large for float16')
  })
})

describe('a whole repository', () => {
  const repo = join(fixtures, 'tiny-sdxl/repo')

  it('copies every file without weights, and lists the files that it leaves out', async () => {
    const out = fresh()
    const result = await runJson<ShardResult>(['shard', repo, '--out', out, '--max-shard-size', '300KB'])
    const [source, written] = [await filesBelow(repo), await filesBelow(out)]
    expect(result.ok).toBe(true)
    expect(result.leftOut).toEqual([...source.keys()].filter((path) => path.includes('fp16')))
    for (const [path, bytes] of source)
      if (!/safetensors/.test(path)) expect(Buffer.compare(written.get(path) ?? Buffer.alloc(0), bytes), path).toBe(0)
    for (const { files } of result.components)
      for (const { path, bytes } of files) expect(written.get(path)?.byteLength).toBe(bytes)
    expect(result.components.map(({ name, parameters }) => [name, parameters])).toEqual([
      ['text_encoder', 101_792],
      ['text_encoder_2', 191_088],
      ['unet', 423_028],
      ['vae', 67_231],
    ])
  })

  it('resumes after an interruption', async () => {
    const [out, controller] = [fresh(), new AbortController()]
    const args = ['shard', repo, '--out', out, '--max-shard-size', '300KB']
    const stopped = await run(args, {
      signal: controller.signal,
      onStderr: (text) => {
        if (text.startsWith('unet/')) controller.abort()
      },
    })
    expect(stopped.code).toBe(130)
    await expect(readFile(join(out, 'model_index.json'))).rejects.toThrow('ENOENT')
    const half = await filesBelow(`${out}.incomplete`)
    const again = await run(args)
    expect(again.code).toBe(0)
    expect(again.stderr.match(/already complete/g)).toHaveLength(
      [...half.keys()].filter((path) => path.endsWith('.safetensors')).length,
    )
    const [resumed, straight] = [await filesBelow(out), await filesBelow(await shard(repo, '--max-shard-size', '300KB'))]
    expect([...resumed.keys()]).toEqual([...straight.keys()])
    for (const [path, bytes] of resumed) expect(Buffer.compare(bytes, straight.get(path) ?? Buffer.alloc(0)), path).toBe(0)
  })

  it('starts again when the options differ from those of the interrupted run', async () => {
    const [out, controller] = [fresh(), new AbortController()]
    const args = ['shard', repo, '--out', out, '--max-shard-size']
    await run([...args, '300KB'], { signal: controller.signal, onStderr: () => controller.abort() })
    const again = await run([...args, '400KB'])
    expect(again.code).toBe(0)
    expect(again.stderr).not.toContain('already complete')
    expect([...(await filesBelow(out)).keys()]).toEqual([
      ...(await filesBelow(await shard(repo, '--max-shard-size', '400KB'))).keys(),
    ])
  })

  it('shows a bar on a terminal', async () => {
    const { stderr } = await run(['shard', repo, '--out', fresh()], { isTerminal: true, columns: 60 })
    expect(stderr).toContain('█')
    const bars = stderr.split('\r').map((line) => line.replace('\u001b[K', '').split('\n')[0] ?? '')
    for (const bar of bars.filter((line) => line.includes('░'))) expect(bar.length).toBeLessThan(60)
    expect(bars.at(-1)).toBe('')
  })
})

/** The tensors of a component that was written. */
async function tableOf(folder: string): Promise<WeightTable> {
  const repository = new DiskRepository(folder)
  onTestFinished(() => repository.close())
  const [component] = (await readContents(repository, null)).components
  if (component === undefined || component.weights === null) throw new Error('no weights')
  return component.weights.read()
}

const bytesOf = (entry: TensorEntry | undefined) => entry!.source.read(entry!)

describe.each([
  ['q8', 8],
  ['q4', 4],
] as const)('--dtype %s', (word, bits) => {
  it('writes codes that dequantize to the quantized weights of the source', async () => {
    const folder = join(fixtures, 'tiny-sdxl/repo/text_encoder')
    const out = await shard(folder, '--dtype', word, '--max-shard-size', '100KB')
    const [source, written] = [await tableOf(folder), await tableOf(out)]
    expect(JSON.parse(String(await readFile(join(out, 'config.json'))))).toMatchObject({
      quantization_config: { quant_method: 'aquatint', bits, block_size: 32 },
      torch_dtype: 'float16',
      hidden_size: 32,
    })
    let quantized = 0
    for (const [name, entry] of source) {
      const made = written.get(name)
      if (!isFloatDType(entry.dtype)) continue
      const values = decodeFloats(await bytesOf(entry), entry.dtype)
      if (made?.dtype !== 'U8') {
        expect(made?.dtype, name).toBe('F16')
        continue
      }
      quantized++
      const layout = quantizedLayout(entry.shape, { bits })
      const scales = await bytesOf(written.get(`${name}_scale`))
      const back = dequantizeRows(
        { codes: await bytesOf(made), scales: new Uint16Array(scales.buffer), zeroPoints: new Uint8Array() },
        layout,
      )
      expect(back, name).toEqual(dequantizeRows(quantizeRows(values, layout, name), layout))
    }
    // Six Linear weights in each of four layers.
    expect(quantized).toBe(24)
  })

  it('casts the VAE to float16, and refuses to quantize twice', async () => {
    const out = fresh()
    const result = await runJson<ShardResult>(['shard', join(fixtures, 'tiny-sdxl/repo'), '--out', out, '--dtype', word])
    expect(Object.fromEntries(result.components.map(({ name, dtype }) => [name, dtype]))).toEqual({
      text_encoder: word,
      text_encoder_2: word,
      unet: word,
      vae: 'float16',
    })
    const twice = await runJson<ShardResult>(['shard', out, '--out', fresh(), '--dtype', 'float16'])
    expect(twice.error.code).toBe('already-quantized')
  })
})

it('writes the current names of a VAE that an old diffusers saved', async () => {
  const folder = join(fixtures, 'tiny-sd15/repo/vae')
  const [before, out] = [await tableOf(folder), fresh()]
  const result = await runJson<ShardResult>(['shard', folder, '--out', out, '--max-shard-size', '100KB'])
  const after = await tableOf(out)
  expect(result.components[0]?.renamed).toBe(16)
  expect(after.size).toBe(before.size)
  const attention = 'decoder.mid_block.attentions.0'
  for (const [former, today] of [
    ['query', 'to_q'],
    ['key', 'to_k'],
    ['value', 'to_v'],
    ['proj_attn', 'to_out.0'],
  ])
    expect(await bytesOf(after.get(`${attention}.${today}.weight`))).toEqual(
      await bytesOf(before.get(`${attention}.${former}.weight`)),
    )
})

it('leaves out buffers of positions, which transformers no longer saves', async () => {
  const [before, out] = [await tableOf(join(fixtures, 'tiny-sd15/repo/text_encoder')), fresh()]
  const result = await runJson<ShardResult>(['shard', join(fixtures, 'tiny-sd15/repo/text_encoder'), '--out', out])
  const positions = 'text_model.embeddings.position_ids'
  expect(result.components[0]?.dropped).toEqual([positions])
  expect([...(await tableOf(out)).keys()].toSorted()).toEqual([...before.keys()].filter((name) => name !== positions).toSorted())
})

it('takes a type for each component', async () => {
  const args = ['--dtype', 'float16', '--dtype', 'text_encoder=q4', '--dtype', 'vae=float32']
  const result = await runJson<ShardResult>(['shard', join(fixtures, 'tiny-sdxl/repo'), '--out', fresh(), ...args])
  expect(result.components.map(({ dtype }) => dtype)).toEqual(['q4', 'float16', 'float16', 'float32'])
})

/** SD 1.5 with a safety checker of pickled weights, like many repositories on the Hub. */
async function withChecker(): Promise<string> {
  const folder = fresh()
  await cp(join(fixtures, 'tiny-sd15/repo'), folder, { recursive: true })
  const index = JSON.parse(await readFile(join(folder, 'model_index.json'), 'utf8')) as Record<string, unknown>
  index['safety_checker'] = ['stable_diffusion', 'StableDiffusionSafetyChecker']
  await writeFile(join(folder, 'model_index.json'), JSON.stringify(index))
  await mkdir(join(folder, 'safety_checker'), { recursive: true })
  await writeFile(join(folder, 'safety_checker/config.json'), '{"architectures": ["StableDiffusionSafetyChecker"]}')
  await writeFile(join(folder, 'safety_checker/pytorch_model.bin'), 'pickled')
  return folder
}

describe('a component that cannot be rewritten', () => {
  it.each([
    ['safety_checker/pytorch_model.bin', 'pickled', 'pickle-weights'],
    ['safety_checker/config.json', '{', 'json-syntax'],
    ['safety_checker/model.safetensors', 'x', 'safetensors-too-short'],
  ])('is copied unchanged, with a warning, if no pipeline runs it: %s', async (path, content, code) => {
    const [folder, out] = [await withChecker(), fresh()]
    await writeFile(join(folder, path), content)
    const { stdout, code: exit } = await run(['shard', folder, '--out', out, '--dtype', 'float16', '--json'])
    expect(exit).toBe(0)
    const result = JSON.parse(stdout) as ShardResult
    expect(result.warnings).toMatchObject([{ component: 'safety_checker', code }])
    expect(result.leftOut).toEqual([])
    expect(result.copied).toContain('safety_checker/pytorch_model.bin')
    expect(result.components.map(({ name }) => name)).toEqual(['text_encoder', 'unet', 'vae'])
    expect(String(await readFile(join(out, path)))).toBe(content)
    const output = await run(['shard', folder, '--out', fresh(), '--dtype', 'float16'])
    expect(output.stdout).toMatch(/^Warning: safety_checker is copied unchanged: /m)
  })

  it('is an error if --dtype names it or the pipeline needs it', async () => {
    const folder = await withChecker()
    const error = async (...args: string[]) => (await runJson(['shard', folder, '--out', fresh(), ...args])).error.code
    expect(await error('--dtype', 'safety_checker=float16')).toBe('pickle-weights')
    await writeFile(join(folder, 'vae/config.json'), '{')
    expect(await error()).toBe('json-syntax')
  })
})

describe('what is refused', () => {
  const repo = join(fixtures, 'tiny-sd15/repo')

  it.each([
    ['no folder', ['shard'], 'arguments'],
    ['no --out', ['shard', repo], 'arguments'],
    ['an unknown option', ['shard', repo, '--out', 'x', '--shards', '3'], 'arguments'],
    ['a second folder', ['shard', repo, repo, '--out', 'x'], 'arguments'],
    ['an option without a value', ['shard', repo, '--out'], 'arguments'],
    ['an option twice', ['shard', repo, '--out', 'x', '--out', 'y'], 'arguments'],
    ['an invalid size', ['shard', repo, '--out', 'x', '--max-shard-size', '2 gigs'], 'bad-memory-size'],
    ['a size of zero', ['shard', repo, '--out', 'x', '--max-shard-size', '0GB'], 'bad-memory-size'],
    ['an unknown type', ['shard', repo, '--out', 'x', '--dtype', 'int8'], 'dtype'],
    [
      'a type for a component that does not exist',
      ['shard', repo, '--out', join(temporary, 'y'), '--dtype', 'transformer=q8'],
      'dtype',
    ],
    ['an invalid variant', ['shard', repo, '--out', 'x', '--variant', '../fp16'], 'variant-name'],
    ['a folder that does not exist', ['shard', join(temporary, 'nowhere'), '--out', join(temporary, 'z')], 'not-a-folder'],
    ['an --out that is the source', ['shard', repo, '--out', repo], 'out-inside'],
    ['an --out in the source', ['shard', repo, '--out', join(repo, 'sharded')], 'out-inside'],
    ['an --out that holds something', ['shard', repo, '--out', fixtures], 'out-exists'],
    ['an unknown command', ['quantize', repo], 'command'],
  ])('%s, with exit code 2', async (_, args, code) => {
    const { stdout, code: exit } = await run([...args, '--json'])
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, error: { kind: 'InputError', code } })
    expect(exit).toBe(2)
    const text = await run(args)
    expect(text.code).toBe(2)
    expect(text.stderr).toMatch(/^aquatint: .+\n$/)
    expect(text.stdout).toBe('')
  })

  it('a broken checkpoint, with exit code 1 and no result', async () => {
    const [folder, out] = [fresh(), fresh()]
    await cp(repo, folder, { recursive: true })
    await writeFile(join(folder, 'vae/diffusion_pytorch_model.safetensors'), 'not a checkpoint')
    const { code, stderr } = await run(['shard', folder, '--out', out])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^aquatint: vae\/diffusion_pytorch_model.safetensors says that its header/)
    await expect(filesBelow(out)).rejects.toThrow('ENOENT')
    await expect(filesBelow(`${out}.incomplete`)).rejects.toThrow('ENOENT')
  })

  it('a folder for unfinished files that holds something else', async () => {
    const out = fresh()
    await mkdir(`${out}.incomplete`)
    await writeFile(join(`${out}.incomplete`, 'mine'), '')
    expect((await runJson(['shard', repo, '--out', out])).error.code).toBe('incomplete-exists')
    expect([...(await filesBelow(`${out}.incomplete`)).keys()]).toEqual(['mine'])
  })
})
