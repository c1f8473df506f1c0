/** `aquatint inspect` on folders, and what it downloads from a server like the Hub. */

import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { startHubServer } from '../../e2e/hub-server/server.js'
import type { Inspection } from './inspect-repository.js'
import { serveFolder } from '../serve/serve.js'
import { fixtures, run, runJson, temporaryFolder } from '../testing.js'
import type { DeviceName } from '../../src/memory/device-info.js'

const repo = join(fixtures, 'tiny-sdxl/repo')
const temporary = await temporaryFolder()

describe('inspecting', () => {
  it('describes a folder', async () => {
    const inspection = await runJson<Inspection>(['inspect', repo])
    expect(inspection).toMatchObject({
      ok: true,
      pipeline: 'StableDiffusionXLPipeline',
      variants: ['fp16'],
      parameters: 783_139,
      runs: { ok: true, problems: [], warnings: [] },
    })
    expect(inspection.components.find(({ name }) => name === 'unet')).toMatchObject({
      className: 'UNet2DConditionModel',
      weights: { parameters: 423_028, bytes: 1_692_112, dtypes: { F32: { tensors: 408, elements: 423_028, bytes: 1_692_112 } } },
    })
    const { stdout, code } = await run(['inspect', repo])
    expect(code).toBe(0)
    expect(stdout).toMatch(/unet +UNet2DConditionModel +3 shards +F32 +423028 +1\.69 MB\n/)
    expect(stdout).toContain('Aquatint can run it.')
  })

  it('describes a repository on a server in the same way', async () => {
    const serving = await serveFolder(repo, { host: '127.0.0.1', port: 0, origin: '*' })
    onTestFinished(() => serving.close())
    const [local, remote] = [await runJson<Inspection>(['inspect', repo]), await runJson<Inspection>(['inspect', serving.url])]
    expect({ ...remote, repository: '', revision: '' }).toEqual({ ...local, repository: '', revision: '' })
  })

  it('downloads only headers from a Hub', async () => {
    // A shard whose header is followed by 300 MB that the server generates on request.
    const header = Buffer.from('{"w":{"dtype":"F32","shape":[75000000],"data_offsets":[0,300000000]}}')
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(header.byteLength))
    const head = Buffer.concat([length, header])
    const large = {
      size: head.byteLength + 300_000_000,
      read: (begin: number, end: number) => {
        const bytes = new Uint8Array(end - begin)
        if (begin < head.byteLength) bytes.set(head.subarray(begin, end))
        return bytes
      },
    }
    const server = await startHubServer({
      repositories: { 'owner/toy': { 'config.json': '{"_class_name": "Toy"}', 'diffusion_pytorch_model.safetensors': large } },
    })
    onTestFinished(() => server.close())
    const inspection = await runJson<Inspection>(['inspect', 'owner/toy', '--endpoint', server.url])
    expect(inspection).toMatchObject({ ok: true, repository: 'owner/toy', parameters: 75_000_000, bytes: 300_000_000 })
    expect(inspection.revision).toMatch(/^[0-9a-f]{40}$/)
    const sent = server.log.reduce((sum, entry) => sum + entry.bytes, 0)
    expect(sent).toBeLessThan(1_000_000)
  })

  it('counts the parameters that quantized weights stand for', async () => {
    const out = join(temporary, 'q4')
    await run(['shard', repo, '--out', out, '--dtype', 'q4'])
    const inspection = await runJson<Inspection>(['inspect', out])
    expect(inspection).toMatchObject({ parameters: 783_139, runs: { ok: true, problems: [] } })
    expect(inspection.components.find(({ name }) => name === 'unet')?.weights?.quantized).toEqual({ bits: 4, blockSize: 32 })
    expect((await run(['inspect', out])).stdout).toMatch(/unet .* q4 \(F16 .* \+ U8 .*\) +423028/)
  })

  it('reports for each component why a checkpoint does not run', async () => {
    const folder = join(temporary, 'wrong')
    await cp(repo, folder, { recursive: true })
    const change = async (path: string, from: string, to: string) =>
      writeFile(join(folder, path), String(await readFile(join(folder, path))).replace(from, to))
    await change('unet/config.json', '"cross_attention_dim": 80', '"cross_attention_dim": 72')
    await change('model_index.json', 'AutoencoderKL', 'AutoencoderDC')
    await change('model_index.json', 'EulerDiscreteScheduler', 'DPMSolverSDEScheduler')
    await writeFile(join(folder, 'text_encoder/model.safetensors'), 'x')
    const { runs, ok } = await runJson<Inspection>(['inspect', folder])
    expect(ok).toBe(true)
    expect(runs.ok).toBe(false)
    expect(runs.problems.map(({ component, code }) => [component, code])).toEqual([
      ['scheduler', 'unsupported-class'],
      ['text_encoder', 'safetensors-too-short'],
      ['unet', 'shape-mismatch'],
      ['vae', 'unsupported-class'],
    ])
    const { stdout, code } = await run(['inspect', folder])
    expect(code).toBe(0)
    expect(stdout).toContain('Aquatint cannot run it:\n  scheduler: ')
    expect(stdout).toContain('Use DPMSolverMultistepScheduler')
  })

  it('reports errors that only loading the whole pipeline meets', async () => {
    const folder = join(temporary, 'no-merges')
    await cp(repo, folder, { recursive: true })
    await rm(join(folder, 'tokenizer/merges.txt'))
    const { runs } = await runJson<Inspection>(['inspect', folder])
    expect(runs.problems).toMatchObject([{ component: '', message: expect.stringContaining('merges.txt') as string }])
  })

  it('plans the memory within a budget', async () => {
    const plan = async (...args: string[]) => {
      const { memory } = await runJson<Inspection>(['inspect', repo, '--max-memory', ...args])
      if (memory === null || !('devices' in memory)) throw new Error(JSON.stringify(memory))
      return { ...memory, plan: memory.devices.webgpu! }
    }
    const [float, q4] = [await plan('1GB'), await plan('1GB', '--dtype', 'q4')]
    expect(float).toMatchObject({ width: 64, height: 64, plan: { residence: 'resident', maxMemory: 1e9 } })
    const unet = (memory: typeof float) => memory.plan.components.find(({ name }) => name === 'unet')!
    // The fixture's UNet is F32; its Linear weights shrink to a seventh as int4, the others to half as float16.
    expect(unet(float).weightBytes).toBeGreaterThan(1_600_000)
    expect(unet(q4).weightBytes).toBeLessThan(unet(float).weightBytes / 2)
    const larger = await plan('1GB', '--width', '128', '--height', '256')
    // The image has eight times the pixels, but the keys and values of the prompt do not grow with it.
    expect(unet(larger).activationBytes).toBeGreaterThan(3 * unet(float).activationBytes)
    const [most] = [...float.plan.components].toSorted((a, b) => b.weightBytes - a.weightBytes)
    const tight = await plan(String(most!.weightBytes + Math.max(...float.plan.components.map((part) => part.activationBytes))))
    expect(tight.plan.residence).toBe('model')
    const { stdout } = await run(['inspect', repo, '--max-memory', '1GB'])
    expect(stdout).toMatch(/^Memory for .* with shader-f16 and with buffers of up to 4\.29 GB \(assumed\):$/m)
    expect(stdout).toMatch(/^3, each step +unet +webgpu +resident +1\.\d\d MB .* all \d+ stay$/m)
    const streamed = await run(['inspect', repo, '--max-memory', '1.8MB'])
    expect(streamed.stdout).toMatch(/^unet keeps .*down_blocks[^]*^ {2}and uploads in each run [^]*time_embedding/m)
    expect(streamed.stdout).toMatch(
      /^webgpu: offload block, at most 1\.\d+ MB of 1\.80 MB, with [\d.]+ kB for embeddings and latents$/m,
    )
    const little = await run(['inspect', repo, '--max-memory', '1KB'])
    expect(little.code).toBe(0)
    expect(little.stdout).toMatch(/needs at least \d+ bytes .* of GPU memory/)
    expect(little.stdout).toMatch(/unet +1\.\d\d MB +\d/)
  })

  it('plans for several devices', async () => {
    const plan = async (...args: string[]) => {
      const { memory } = await runJson<Inspection>(['inspect', repo, ...args])
      if (memory === null || !('devices' in memory)) throw new Error(JSON.stringify(memory))
      return memory
    }
    const names = (memory: Awaited<ReturnType<typeof plan>>, device: DeviceName) =>
      memory.devices[device]?.components.map(({ name }) => name)
    const mapped = await plan('--max-memory', '1GB', '--device-map', 'text_encoder=wasm', '--device-map', 'text_encoder_2=wasm')
    expect(mapped.places).toEqual({ text_encoder: 'wasm', text_encoder_2: 'wasm', unet: 'webgpu', vae: 'webgpu' })
    expect(names(mapped, 'wasm')).toEqual(['text_encoder', 'text_encoder_2'])
    expect(names(mapped, 'webgpu')).toEqual(['unet', 'vae'])
    // The GPU's budget holds every component but the largest.
    const balanced = await plan('--max-memory', 'webgpu=2.5MB', '--max-memory', 'wasm=2.5MB', '--device-map', 'balanced')
    expect(Object.keys(balanced.devices).toSorted()).toEqual(['wasm', 'webgpu'])
    for (const { peakBytes, residence } of Object.values(balanced.devices)) {
      expect(peakBytes).toBeLessThanOrEqual(2.5e6)
      expect(residence).toBe('resident')
    }
    const blocks = await plan('--max-memory', '1GB', '--offload', 'model')
    expect(blocks.devices.webgpu?.residence).toBe('model')
    const { stdout } = await run(['inspect', repo, '--max-memory', '1GB', '--device-map', 'vae=wasm'])
    expect(stdout).toMatch(/^1, each prompt +text_encoder +webgpu [^]*^4, each image +vae +wasm [^]*^webgpu: [^]*^wasm: /m)
  })

  it.each([
    [['--dtype', 'q4'], 'arguments'],
    [['--device-map', 'balanced'], 'arguments'],
    [['--max-memory', 'much'], 'bad-memory-size'],
    [['--max-memory', 'gpu=1GB'], 'bad-device'],
    [['--max-memory', '1GB', '--max-memory', 'wasm=1GB'], 'max-memory'],
    [['--max-memory', '1GB', '--device-map', 'unet=cuda'], 'bad-device-map'],
    [['--max-memory', '1GB', '--device-map', 'transformer=wasm'], 'bad-device-map'],
    [['--max-memory', '1GB', '--offload', 'all'], 'offload'],
    [['--max-memory', '1GB', '--dtype', 'int3'], 'dtype'],
    [['--max-memory', '1GB', '--dtype', 'q8', '--dtype', 'q4'], 'dtype'],
    [['--max-memory', '1GB', '--dtype', 'transformer=q8'], 'dtype'],
    [['--max-memory', '1GB', '--dtype', 'unet=q8', '--dtype', 'unet=q4'], 'dtype'],
    [['--max-memory', '1GB', '--max-memory', '2GB'], 'max-memory'],
    [['--max-memory', 'webgpu=1GB', '--max-memory', 'webgpu=2GB'], 'max-memory'],
    [['--max-memory', '1GB', '--device-map', 'unet=wasm', '--device-map', 'unet=webgpu'], 'device-map'],
    [['--max-memory', '1GB', '--width', '64', '--width', '128'], 'arguments'],
    [['--variant', 'fp16', '--variant', 'fp16'], 'arguments'],
    [['--max-memory', '1GB', '--width', '100'], 'size'],
    [['--max-memory', '1GB', '--width', 'wide'], 'size'],
  ])('refuses %j', async (args, code) => {
    expect((await runJson<Inspection>(['inspect', repo, ...args])).error.code).toBe(code)
  })

  it('refuses what is not a checkpoint', async () => {
    expect((await runJson<Inspection>(['inspect', join(fixtures, 'tokenizers')])).error.code).toBe('not-a-checkpoint')
    expect((await runJson<Inspection>(['inspect', 'owner/name/more'])).error.code).toBe('bad-repository-id')
  })
})
