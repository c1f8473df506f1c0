/** `aquatint inspect owner/name` against a simulated Hub: what it finds, and what it reports when it finds nothing. */

import { cp, mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { startHubServer } from '../../e2e/hub-server/server.js'
import type { Inspection } from './inspect-repository.js'
import { formatBytes } from '../../src/util/format-bytes.js'
import { fixtures, run, runJson, temporaryFolder } from '../testing.js'

const [repo, token, temporary] = [join(fixtures, 'tiny-sd15/repo'), 'hf_secret', await temporaryFolder()]
const hub = await startHubServer({
  repositories: { 'owner/model': repo, 'owner/gated': repo },
  gated: { 'owner/gated': token },
})
afterAll(() => hub.close())
const before = process.env.HF_TOKEN
afterEach(() => {
  hub.setFaults({})
  hub.clearLog()
  if (before === undefined) delete process.env.HF_TOKEN
  else process.env.HF_TOKEN = before
})
const inspect = (target: string, ...options: string[]) => ['inspect', target, '--endpoint', hub.url, ...options]

/** Plans a load of `owner/model`: returns the plan's `storage` and the last line of its text. */
async function plan(...options: string[]) {
  const line = inspect('owner/model', '--max-memory', '1GB', ...options)
  const { memory } = await runJson<Inspection>(line)
  return { storage: memory?.storage, last: (await run(line)).stdout.trimEnd().split('\n').at(-1) }
}

interface Failure {
  readonly ok: boolean
  readonly error: { readonly kind: string; readonly code: string; readonly message: string; readonly details: object }
}

/** Runs a command that fails, with `--json` and without: both report the same error and exit with the same code. */
async function failing(...line: string[]): Promise<Failure['error'] & { readonly exit: number; readonly stderr: string }> {
  const [json, text] = [await run([...line, '--json']), await run(line)]
  const { ok, error } = JSON.parse(json.stdout) as Failure
  expect([ok, text.code, text.stdout]).toEqual([false, json.code, ''])
  expect(text.stderr.split('\n').at(-2)).toBe(`aquatint: ${error.message}`)
  expect(`${json.stdout}${json.stderr}${text.stderr}`).not.toContain(token)
  return { ...error, exit: json.code, stderr: text.stderr }
}

describe('a repository', () => {
  it('is described like a folder with the same files', async () => {
    const [local, remote] = [await runJson<Inspection>(['inspect', repo]), await runJson<Inspection>(inspect('owner/model'))]
    expect(remote).toEqual({ ...local, repository: 'owner/model', revision: await hub.commit('owner/model') })
  })

  it('has a plan that says what a page downloads and keeps', async () => {
    const float = await plan()
    const bytes = float.storage?.downloadBytes ?? 0
    const files = (await runJson<Inspection>(['inspect', repo])).components.flatMap(({ weights }) => weights?.files ?? [])
    const used = files.filter(({ path }) => !path.startsWith('safety_checker'))
    expect(bytes).toBe(used.reduce((sum, file) => sum + file.bytes, 0))
    expect(float.storage).toEqual({ downloadBytes: bytes, keptBytes: bytes, diskBytes: bytes })
    expect(float.last).toBe(`A page downloads ${formatBytes(bytes)} of weights and keeps ${formatBytes(bytes)} on the disk.`)
    const quantized = await plan('--dtype', 'q8')
    expect(quantized.storage?.downloadBytes).toBe(bytes)
    expect(quantized.storage?.keptBytes).toBeGreaterThan(bytes)
    const local = (await run(['inspect', repo, '--max-memory', '1GB'])).stdout
    expect(local).not.toContain('downloads')
  })

  it('is found by every address that people paste, at the revision that it names', async () => {
    const commit = await hub.commit('owner/model')
    const addresses = [
      `${hub.url}/owner/model/blob/main/model_index.json`,
      `${hub.url}/owner/model/tree/main/unet`,
      ` "https://huggingface.co/owner/model/tree/${commit}",\n`,
      `hf.co/owner/model@${commit}`,
    ]
    for (const address of addresses)
      expect(await runJson<Inspection>(inspect(address))).toMatchObject({
        repository: 'owner/model',
        revision: commit,
        pipeline: 'StableDiffusionPipeline',
      })
    expect(await failing(...inspect('hf.co/owner/model@main', '--revision', 'v1'))).toMatchObject({
      code: 'bad-revision',
      exit: 2,
    })
  })

  it('may be a pipeline in a folder of a repository', async () => {
    const folder = join(temporary, 'holder')
    await cp(repo, join(folder, 'half/pipeline'), { recursive: true })
    hub.setRepository('owner/holder', folder)
    const inspection = await runJson<Inspection>(inspect('https://huggingface.co/owner/holder/tree/main/half/pipeline'))
    expect(inspection).toMatchObject({ repository: 'owner/holder', pipeline: 'StableDiffusionPipeline', runs: { ok: true } })
  })

  it('is inspected at a given commit', async () => {
    const commit = await hub.commit('owner/model')
    hub.setRepository('owner/model', join(fixtures, 'tiny-sdxl/repo'))
    const [now, then] = [
      await runJson<Inspection>(inspect('owner/model')),
      await runJson<Inspection>(inspect('owner/model', '--revision', commit)),
    ]
    expect([now.pipeline, then.pipeline]).toEqual(['StableDiffusionXLPipeline', 'StableDiffusionPipeline'])
    expect([now.revision, then.revision]).toEqual([await hub.commit('owner/model'), commit])
  })

  it('that is gated opens with the token of the environment, which is sent to the Hub only', async () => {
    process.env.HF_TOKEN = token
    const inspection = await runJson<Inspection>(inspect('owner/gated'))
    expect(inspection).toMatchObject({ ok: true, runs: { ok: true } })
    expect(JSON.stringify(inspection)).not.toContain(token)
    expect(hub.log.filter((entry) => entry.host === 'cdn' && entry.authorized)).toEqual([])
    expect(hub.log.some((entry) => entry.host === 'hub' && entry.authorized)).toBe(true)
  })
})

describe('an error is reported for', () => {
  it.each([
    [
      'a repository that does not exist',
      'owner/nothing',
      [],
      'repository-not-found',
      1,
      'There is no folder owner/nothing here either.',
    ],
    ['a lone name', 'sdxl-half', [], 'bad-repository-id', 2, 'There is no folder sdxl-half here either.'],
    ['a file that does not exist', 'model.safetensors', [], 'bad-repository-id', 2, 'There is no folder model.safetensors here'],
    ['a path that is not an id', 'models/owner/name', [], 'bad-repository-id', 2, 'There is no folder models/owner/name here'],
    ['a gated repository, without a token', 'owner/gated', [], 'gated', 1, 'pass the access token of that account'],
    ['a revision', 'owner/model', ['--revision', 'v9'], 'revision-not-found', 1, '"v9"'],
    ['an invalid revision', 'owner/model', ['--revision', '../x'], 'bad-revision', 2, '"../x"'],
  ] as const)('%s', async (_, target, options, code, exit, message) => {
    const error = await failing(...inspect(target, ...options))
    expect(error).toMatchObject({ code, exit, kind: exit === 2 ? 'InputError' : 'HubError' })
    expect(error.message).toContain(message)
  })

  it('a gated repository, with a token that has no access', async () => {
    process.env.HF_TOKEN = 'hf_other'
    const error = await failing(...inspect('owner/gated'))
    expect(error).toMatchObject({ code: 'gated', exit: 1, details: { status: 403 } })
    expect(error.message).toContain('this access token has no access')
  })

  it('a URL, for which no folder is suggested', async () => {
    const error = await failing('inspect', `${hub.url}/static/owner/nothing/`)
    expect(error).toMatchObject({ kind: 'HubError', code: 'listing-unavailable', exit: 1 })
    expect(error.message).not.toContain('folder')
  })
})

describe('a folder or a file', () => {
  it('the weights of one component, and a file of another kind, are distinguished from a checkpoint in one file', async () => {
    const error = await failing('inspect', join(fixtures, 'tiny-sd15/repo/vae/diffusion_pytorch_model.safetensors'))
    expect(error).toMatchObject({ kind: 'UnsupportedError', code: 'single-file-family', exit: 1 })
    expect(error.message).toContain("diffusers' own names")
    const other = await failing('inspect', join(fixtures, 'tiny-sd15/case.json'))
    expect(other).toMatchObject({ kind: 'InputError', code: 'not-a-folder', exit: 2 })
  })

  it('a missing path is not requested from any server', async () => {
    for (const target of ['./nothing', '../nothing', join(temporary, 'nothing')])
      expect(await failing(...inspect(target))).toMatchObject({ code: 'not-a-folder', exit: 2 })
    expect(hub.log).toEqual([])
  })

  it('a folder without ./ is preferred to a repository on the Hub', async () => {
    const folder = join(temporary, 'owner/model')
    await mkdir(join(temporary, 'owner'))
    await cp(repo, folder, { recursive: true })
    await writeFile(join(folder, 'vae/config.json'), '{')
    const before = process.cwd()
    process.chdir(temporary)
    try {
      expect((await runJson<Inspection>(inspect('owner/model'))).runs.problems).toMatchObject([{ component: 'vae' }])
    } finally {
      process.chdir(before)
    }
    expect(hub.log).toEqual([])
  })
})

describe('a network that fails', () => {
  it('is waited for, with a report, and the error has a hint', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    const { code, stdout, stderr } = await run(['inspect', 'owner/model', '--endpoint', `http://127.0.0.1:${port}`, '--json'])
    expect(code).toBe(1)
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, error: { kind: 'HubError', code: 'network' } })
    expect(stdout).toContain('There is no folder owner/model here either.')
    expect(stderr).toBe(`127.0.0.1:${port} cannot be reached; trying again.\n`)
  })

  it('is waited for as long as the server says, with a report', async () => {
    hub.setFaults({ rules: [{ match: { path: '/revision/' }, times: 1, status: 429, headers: { 'retry-after': '1' } }] })
    const { code, stdout, stderr } = await run(inspect('owner/model', '--json'))
    expect([code, (JSON.parse(stdout) as { ok: boolean }).ok]).toEqual([0, true])
    expect(stderr).toBe(`${new URL(hub.url).host} answered 429; asking again in 1 s.\n`)
  })

  it('in the middle ends the command', async () => {
    hub.setFaults({ rules: [{ match: { path: 'unet/config.json' }, status: 403 }] })
    expect(await failing(...inspect('owner/model'))).toMatchObject({ kind: 'HubError', code: 'forbidden', exit: 1 })
  })
})
