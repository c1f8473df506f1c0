/** Tests `aquatint serve` over real HTTP, with the library's own Hub client (src/hub). */

import { createHash } from 'node:crypto'
import { cp, mkdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { get } from 'node:http'
import { dirname, join, relative } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Hub } from '../../src/hub/hub.js'
import { openRepository } from '../../src/hub/repositories/open-repository.js'
import type { RepositoryFile } from '../../src/hub/types.js'
import { FileHashes } from './file-hashes.js'
import { parseRange, serveFolder } from './serve.js'
import { filesBelow, fixtures, run, temporaryFolder, type Outcome } from '../testing.js'
import { start } from '../testing-process.js'

const repo = join(fixtures, 'tiny-sdxl/repo')
const temporary = await temporaryFolder()

const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex')

async function serve(folder: string, origin = '*'): Promise<string> {
  const serving = await serveFolder(folder, { host: '127.0.0.1', port: 0, origin })
  onTestFinished(() => serving.close())
  return serving.url
}

/** Returns the status of a request whose path is sent unchanged; `fetch` would remove dots from it. */
function statusOf(url: string, path: string): Promise<number | undefined> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    get({ hostname, port, path }, (response) => {
      response.resume()
      resolve(response.statusCode)
    }).once('error', reject)
  })
}

describe('serving', () => {
  it('serves every file to the hub', async () => {
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

  it('lists every file with its current size and sha256', async () => {
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

  it('hashes a file again only after its size or modification time has changed', async () => {
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

  it('lets the hub refuse a file that differs from the listing', async () => {
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
    expect(await status({ range: 'bytes=0-1,4-5' })).toBe(200)
    expect(await status({ range: 'bytes=0-1', 'if-range': etag })).toBe(206)
    expect(await status({ range: 'bytes=0-1', 'if-range': '"another"' })).toBe(200)
    expect(await status({ 'if-none-match': etag })).toBe(304)
    const head = await fetch(url, { method: 'HEAD' })
    expect([head.headers.get('content-length'), (await head.arrayBuffer()).byteLength]).toEqual([String(bytes.byteLength), 0])
    const headOfPart = await fetch(url, { method: 'HEAD', headers: { range: 'bytes=10-19' } })
    expect([headOfPart.status, headOfPart.headers.get('content-length'), headOfPart.headers.get('content-range')]).toEqual([
      206,
      '10',
      `bytes 10-19/${bytes.byteLength}`,
    ])
    for (const method of ['GET', 'HEAD']) {
      const beyond = await fetch(url, { method, headers: { range: `bytes=${bytes.byteLength}-` } })
      expect([beyond.status, beyond.headers.get('content-range')]).toEqual([416, `bytes */${bytes.byteLength}`])
      expect([(await beyond.arrayBuffer()).byteLength, beyond.headers.get('access-control-allow-origin')]).toEqual([0, '*'])
      expect((await fetch(`${url}.gone`, { method })).status).toBe(404)
    }
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(405)
  })

  it('allows the pages of one origin only', async () => {
    const url = await serve(repo, 'https://example.org')
    const asked = await fetch(`${url}model_index.json`, { method: 'OPTIONS' })
    expect(asked.status).toBe(204)
    expect(asked.headers.get('access-control-allow-origin')).toBe('https://example.org')
    expect(asked.headers.get('access-control-allow-private-network')).toBe('true')
    const file = await fetch(`${url}model_index.json`)
    expect(file.headers.get('access-control-expose-headers')).toContain('content-range')
    expect(file.headers.get('cross-origin-resource-policy')).toBe('cross-origin')
  })

  it('serves only files in the folder', async () => {
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
      'unet/./config.json',
      'unet%5cconfig.json',
      '%252e%252e/secret',
      '....//secret',
      'unet/../../secret',
      '/secret',
      `${'a/'.repeat(600)}a`,
      '%00',
      '%',
      'nothing',
    ])
      expect(await statusOf(url, `/${path}`), path).toBe(404)
    for (const path of ['unet/config.json', 'unet%2fconfig.json', 'unet/config.json?x#y'])
      expect(await statusOf(url, `/${path}`), path).toBe(200)
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

  it('reports a port that is in use', async () => {
    const { port } = new URL(await serve(repo))
    const { code, stdout } = await run(['serve', repo, '--port', port, '--json'])
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, error: { code: 'port-in-use' } })
    expect(code).toBe(2)
  })

  it.each(['SIGINT', 'SIGTERM'] as const)('runs until it is interrupted by %s', async (signal) => {
    const args = ['scripts/run.mjs', 'cli/main.ts', 'serve', repo, '--port', '0', '--json']
    const { child, exit, until } = start(process.execPath, args)
    const [said] = await until('stdout', /^\{.*\}\n/)
    const { url } = JSON.parse(said) as { url: string }
    expect((await fetch(`${url}model_index.json`)).status).toBe(200)
    child.kill(signal)
    expect(await exit).toMatchObject({ code: 0, stderr: '' })
  })
})

describe('links', () => {
  it('are followed within the folder only, since an untrusted author may have made them', async () => {
    const folder = join(temporary, 'linked')
    await cp(repo, folder, { recursive: true })
    await mkdir(join(temporary, 'elsewhere'))
    await writeFile(join(temporary, 'elsewhere/config.json'), 'secret')
    await symlink(join(folder, 'unet/config.json'), join(folder, 'inside.json'))
    await symlink('../elsewhere/config.json', join(folder, 'outside.json'))
    await symlink('../elsewhere', join(folder, 'elsewhere'))
    await symlink('nowhere', join(folder, 'lost.json'))
    const url = await serve(folder)
    expect((await fetch(`${url}inside.json`)).status).toBe(200)
    for (const path of ['outside.json', 'elsewhere/config.json', 'elsewhere', 'lost.json'])
      expect((await fetch(url + path)).status, path).toBe(404)
    const listed = (await (await fetch(`${url}files.json`)).json()) as { files: RepositoryFile[] }
    const paths = listed.files.map(({ path }) => path)
    expect(paths).toContain('inside.json')
    expect(paths.filter((path) => /outside|elsewhere|lost/.test(path))).toEqual([])

    const output = await serveUntilPrinted(['serve', folder, '--port', '0'])
    expect(output.stderr).toMatch(
      /^Note: these files are not served, .*--follow-links.*: elsewhere\/config\.json, outside\.json\n$/,
    )
    const followed = await serveUntilPrinted(['serve', folder, '--port', '0', '--follow-links', '--json'], async (stdout) => {
      const { url } = JSON.parse(stdout) as { url: string }
      expect(await (await fetch(`${url}outside.json`)).text()).toBe('secret')
    })
    expect(followed.stderr).toBe('')
  })

  it('are followed from a snapshot of the Hub’s cache to its blobs', async () => {
    const cache = join(temporary, 'models--owner--name')
    const [blobs, snapshot] = [join(cache, 'blobs'), join(cache, 'snapshots', 'a'.repeat(40))]
    await mkdir(blobs, { recursive: true })
    await writeFile(join(temporary, 'beside'), 'secret')
    for (const [path, bytes] of await filesBelow(repo)) {
      await writeFile(join(blobs, sha256(bytes)), bytes)
      await mkdir(dirname(join(snapshot, path)), { recursive: true })
      await symlink(relative(dirname(join(snapshot, path)), join(blobs, sha256(bytes))), join(snapshot, path))
    }
    await symlink(join(temporary, 'beside'), join(snapshot, 'beside'))
    const url = await serve(snapshot)
    const repository = await openRepository(await Hub.open({ store: null }), url)
    expect((await repository.files()).map(({ path }) => path)).toEqual([...(await filesBelow(repo)).keys()])
    repository.close()
    const file = await fetch(`${url}unet/config.json`)
    // The type comes from the name of the link, because the blob's name has no extension.
    expect([file.status, file.headers.get('content-type')]).toEqual([200, 'application/json'])
    expect((await fetch(`${url}beside`)).status).toBe(404)
  })
})

/** Serves until the command has printed its URL and `then` is done. */
async function serveUntilPrinted(
  args: readonly string[],
  then: (stdout: string) => Promise<void> = async () => {},
): Promise<Outcome> {
  const stop = new AbortController()
  let done: Promise<void> | undefined
  const outcome = await run(args, {
    signal: stop.signal,
    stdout: (text) => {
      done = then(text).finally(() => stop.abort())
    },
  })
  await done
  expect(outcome.code).toBe(0)
  return outcome
}
