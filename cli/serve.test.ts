/** `aquatint serve` and `aquatint inspect`: over real HTTP, against the hub's own client. */

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cp, mkdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { startHubServer } from '../e2e/hub-server/server.js'
import { Hub } from '../src/hub/hub.js'
import { openRepository } from '../src/hub/open-repository.js'
import type { RepositoryFile } from '../src/hub/types.js'
import type { DeviceName } from '../src/runtime/types.js'
import { FileHashes } from './file-hashes.js'
import type { Inspection } from './inspect-repository.js'
import { parseRange, serveFolder } from './serve.js'
import { filesBelow, fixtures, run, runJson, temporaryFolder } from './testing.js'

const repo = join(fixtures, 'tiny-sdxl/repo')
const temporary = await temporaryFolder()

const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex')

async function serve(folder: string, origin = '*'): Promise<string> {
  const serving = await serveFolder(folder, { host: '127.0.0.1', port: 0, origin })
  onTestFinished(() => serving.close())
  return serving.url
}

describe('serving', () => {
  it('gives the hub every file with its bytes', async () => {
    const hub = await Hub.open({ store: null })
    const repository = await openRepository(hub, await serve(repo))
    const expected = await filesBelow(repo)
    expect((await repository.files()).map((file) => file.path)).toEqual([...expected.keys()])
    for (const [path, bytes] of expected) {
      const source = await repository.open(path)
      expect(Buffer.compare(await source.read({ begin: 0, end: source.byteLength }), bytes), path).toBe(0)
    }
    repository.close()
  })

  it('lists every file with its size and sha256, and again with those of today', async () => {
    const folder = join(temporary, 'hashed')
    await cp(repo, folder, { recursive: true })
    await writeFile(join(folder, 'files.json'), '{"files": []}')
    const url = await serve(folder)
    const listed = async () => ((await (await fetch(`${url}files.json`)).json()) as { files: RepositoryFile[] }).files
    const expected = async () =>
      [...(await filesBelow(folder))]
        .filter(([path]) => path !== 'files.json')
        .map(([path, bytes]) => ({ path, size: bytes.byteLength, sha256: sha256(bytes) }))
    const first = await listed()
    expect(first).toEqual(await expected())
    await writeFile(join(folder, 'unet/config.json'), '{}')
    await rm(join(folder, 'vae/config.json'))
    const second = await listed()
    expect(second).toEqual(await expected())
    expect(second).toHaveLength(first.length - 1)
    const head = await fetch(`${url}files.json`, { method: 'HEAD' })
    expect([head.status, (await head.arrayBuffer()).byteLength]).toEqual([200, 0])
  })

  it('hashes a file again only when its size or its time of change is another', async () => {
    const folder = join(temporary, 'hashed-once')
    await mkdir(folder)
    const [file, time] = [join(folder, 'a.bin'), new Date(2020, 1, 1)]
    const write = async (content: string, at: Date) => {
      await writeFile(file, content)
      await utimes(file, at, at)
    }
    const hashes = new FileHashes(folder, new AbortController().signal)
    await write('before', time)
    expect(await hashes.describe('a.bin')).toEqual({ path: 'a.bin', size: 6, sha256: sha256('before') })
    await write('after!', time)
    expect(await hashes.describe('a.bin')).toEqual({ path: 'a.bin', size: 6, sha256: sha256('before') })
    await write('after!', new Date(2020, 1, 2))
    expect(await hashes.describe('a.bin')).toEqual({ path: 'a.bin', size: 6, sha256: sha256('after!') })
    await rm(file)
    expect(await hashes.describe('a.bin')).toBeUndefined()
  })

  it('lets the hub refuse a file that is not the listed one', async () => {
    const folder = join(temporary, 'swapped')
    await mkdir(folder)
    await writeFile(join(folder, 'config.json'), '{"a": 1}')
    const repository = await openRepository(await Hub.open({ store: null }), await serve(folder))
    await repository.files()
    await writeFile(join(folder, 'config.json'), '{"a": 2}')
    await expect(repository.open('config.json')).rejects.toMatchObject({ code: 'hash-mismatch' })
    repository.close()
  })

  it('answers ranges as HTTP says', async () => {
    const url = `${await serve(repo)}unet/config.json`
    const bytes = await readFile(join(repo, 'unet/config.json'))
    const whole = await fetch(url)
    expect([whole.status, whole.headers.get('accept-ranges'), whole.headers.get('content-type')]).toEqual([
      200,
      'bytes',
      'application/json',
    ])
    expect(Buffer.compare(Buffer.from(await whole.arrayBuffer()), bytes)).toBe(0)
    const etag = whole.headers.get('etag') ?? ''
    const cases = [
      ['bytes=0-0', 0, 1],
      ['bytes=10-19', 10, 20],
      ['bytes=-7', bytes.byteLength - 7, bytes.byteLength],
      [`bytes=5-${bytes.byteLength * 2}`, 5, bytes.byteLength],
      ['bytes=5-', 5, bytes.byteLength],
    ] as const
    for (const [range, begin, end] of cases) {
      const part = await fetch(url, { headers: { range } })
      expect([part.status, part.headers.get('content-range')], range).toEqual([
        206,
        `bytes ${begin}-${end - 1}/${bytes.byteLength}`,
      ])
      expect(Buffer.compare(Buffer.from(await part.arrayBuffer()), bytes.subarray(begin, end)), range).toBe(0)
    }
    const status = async (headers: Record<string, string>) => (await fetch(url, { headers })).status
    expect(await status({ range: `bytes=${bytes.byteLength}-` })).toBe(416)
    expect(await status({ range: 'bytes=0-1,4-5' })).toBe(200)
    expect(await status({ range: 'bytes=0-1', 'if-range': etag })).toBe(206)
    expect(await status({ range: 'bytes=0-1', 'if-range': '"another"' })).toBe(200)
    expect(await status({ 'if-none-match': etag })).toBe(304)
    const head = await fetch(url, { method: 'HEAD' })
    expect([head.headers.get('content-length'), (await head.arrayBuffer()).byteLength]).toEqual([String(bytes.byteLength), 0])
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(405)
  })

  it('lets pages of the named origin read', async () => {
    const url = await serve(repo, 'https://example.org')
    const asked = await fetch(`${url}model_index.json`, { method: 'OPTIONS' })
    expect(asked.status).toBe(204)
    expect(asked.headers.get('access-control-allow-origin')).toBe('https://example.org')
    expect(asked.headers.get('access-control-allow-private-network')).toBe('true')
    const file = await fetch(`${url}model_index.json`)
    expect(file.headers.get('access-control-expose-headers')).toContain('content-range')
    expect(file.headers.get('cross-origin-resource-policy')).toBe('cross-origin')
  })

  it('serves what is in the folder and nothing else', async () => {
    const folder = join(temporary, 'folder')
    await cp(repo, folder, { recursive: true })
    await writeFile(join(temporary, 'secret'), 'secret')
    await writeFile(join(folder, '.hidden'), 'secret')
    const url = await serve(folder)
    for (const path of [
      '../secret',
      '..%2fsecret',
      '%2e%2e/secret',
      '.hidden',
      'unet',
      'unet/',
      'unet//config.json',
      '%00',
      '%',
      'nothing',
    ])
      expect((await fetch(url + path)).status, path).toBe(404)
    await writeFile(join(folder, 'added.txt'), 'added')
    expect(await (await fetch(`${url}added.txt`)).text()).toBe('added')
    await rm(join(folder, 'added.txt'))
    expect((await fetch(`${url}added.txt`)).status).toBe(404)
  })

  it.each([
    [undefined, 10, undefined],
    ['bytes=', 10, undefined],
    ['bytes=-', 10, undefined],
    ['bytes=-0', 10, null],
    ['bytes=-99', 10, { begin: 0, end: 10 }],
    ['bytes=10-', 10, null],
    ['bytes=7-3', 10, undefined],
    ['bytes=0-', 0, null],
    ['lines=1-2', 10, undefined],
    ['bytes=1-2000000000000000000', 10, undefined],
  ])('reads the range %s of %i bytes', (header, size, expected) => expect(parseRange(header, size)).toEqual(expected))

  it('says that a port is taken', async () => {
    const { port } = new URL(await serve(repo))
    const { code, stdout } = await run(['serve', repo, '--port', port, '--json'])
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, error: { code: 'port-in-use' } })
    expect(code).toBe(2)
  })

  it('runs until it is interrupted', async () => {
    const child = spawn(process.execPath, ['scripts/run.mjs', 'cli/main.ts', 'serve', repo, '--port', '0', '--json'], {
      cwd: join(fixtures, '..'),
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const code = new Promise((resolve) => child.once('exit', resolve))
    const said = await new Promise<string>((resolve) => child.stdout.once('data', (data) => resolve(String(data))))
    const { url } = JSON.parse(said) as { url: string }
    expect((await fetch(`${url}model_index.json`)).status).toBe(200)
    child.kill('SIGINT')
    expect(await code).toBe(0)
  })
})

describe('inspecting', () => {
  it('tells what a folder holds', async () => {
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

  it('tells the same of a repository on a server', async () => {
    const [local, remote] = [
      await runJson<Inspection>(['inspect', repo]),
      await runJson<Inspection>(['inspect', await serve(repo)]),
    ]
    expect({ ...remote, repository: '', revision: '' }).toEqual({ ...local, repository: '', revision: '' })
  })

  it('reads headers only of a repository on a Hub', async () => {
    // A shard whose header is followed by 300 MB that the server makes up when it is asked for them.
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

  it('tells the parameters that quantised weights stand for', async () => {
    const out = join(temporary, 'q4')
    await run(['shard', repo, '--out', out, '--dtype', 'q4'])
    const inspection = await runJson<Inspection>(['inspect', out])
    expect(inspection).toMatchObject({ parameters: 783_139, runs: { ok: true, problems: [] } })
    expect(inspection.components.find(({ name }) => name === 'unet')?.weights?.quantized).toEqual({ bits: 4, blockSize: 32 })
    expect((await run(['inspect', out])).stdout).toMatch(/unet .* q4 \(F16 .* \+ U8 .*\) +423028/)
  })

  it('says why a checkpoint does not run, component by component', async () => {
    const folder = join(temporary, 'wrong')
    await cp(repo, folder, { recursive: true })
    const change = async (path: string, from: string, to: string) =>
      writeFile(join(folder, path), String(await readFile(join(folder, path))).replace(from, to))
    await change('unet/config.json', '"cross_attention_dim": 80', '"cross_attention_dim": 72')
    await change('model_index.json', 'AutoencoderKL', 'AutoencoderDC')
    await change('model_index.json', 'EulerDiscreteScheduler', 'KDPM2DiscreteScheduler')
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
  })

  it('says what only loading all of it would show', async () => {
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
    // The fixture's UNet is F32; its Linear weights take a seventh as int4, the rest half as float16.
    expect(unet(float).weightBytes).toBeGreaterThan(1_600_000)
    expect(unet(q4).weightBytes).toBeLessThan(unet(float).weightBytes / 2)
    const larger = await plan('1GB', '--width', '128', '--height', '256')
    expect(unet(larger).activationBytes).toBeGreaterThan(4 * unet(float).activationBytes)
    const [most] = [...float.plan.components].toSorted((a, b) => b.weightBytes - a.weightBytes)
    const tight = await plan(String(most!.weightBytes + Math.max(...float.plan.components.map((part) => part.activationBytes))))
    expect(tight.plan.residence).toBe('model')
    const { stdout } = await run(['inspect', repo, '--max-memory', '1GB'])
    expect(stdout).toMatch(/^Memory for .* with shader-f16 and with buffers of up to 4\.29 GB \(assumed\):$/m)
    expect(stdout).toMatch(/^3, each step +unet +webgpu +resident +1\.\d\d MB .* all \d+ stay$/m)
    const streamed = await run(['inspect', repo, '--max-memory', '1.8MB'])
    expect(streamed.stdout).toMatch(/^unet keeps .*down_blocks[^]*^ {2}and uploads in each run .*conv_in/m)
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
    // The GPU has room for all but the largest, with what its runs hold.
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
    [['--max-memory', '1GB', '--width', '100'], 'size'],
    [['--max-memory', '1GB', '--width', 'wide'], 'size'],
  ])('refuses %j', async (args, code) => {
    expect((await runJson<Inspection>(['inspect', repo, ...args])).error.code).toBe(code)
  })

  it('says what is no checkpoint', async () => {
    expect((await runJson<Inspection>(['inspect', join(fixtures, 'tokenizers')])).error.code).toBe('not-a-checkpoint')
    expect((await runJson<Inspection>(['inspect', 'owner/name/more'])).error.code).toBe('bad-repository-id')
  })
})
