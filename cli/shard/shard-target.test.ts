/** Where `aquatint shard` writes: which folders it refuses, replaces, resumes and leaves alone. */

import { appendFileSync, mkdirSync, readdirSync } from 'node:fs'
import { chmod, cp, mkdir, readdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { ShardResult } from './shard-repository.js'
import { filesBelow, fixtures, float32File, run, runJson, temporaryFolder } from '../testing.js'

const repo = join(fixtures, 'tiny-sd15/repo')
const temporary = await temporaryFolder()
let count = 0
const fresh = () => join(temporary, String(count++))
const args = (out: string, folder = repo) => ['shard', folder, '--out', out, '--max-shard-size', '300KB']

/** A run that is stopped after its third file. */
async function stopped(out: string, folder = repo): Promise<void> {
  const controller = new AbortController()
  let files = 0
  const onStderr = (text: string) => {
    if (/: \d/.test(text) && ++files === 3) controller.abort()
  }
  expect((await run(args(out, folder), { signal: controller.signal, onStderr })).code).toBe(130)
}

const straight = fresh()
await run(args(straight))
const expected = await filesBelow(straight)

async function expectWhole(out: string): Promise<void> {
  const written = await filesBelow(out)
  expect([...written.keys()]).toEqual([...expected.keys()])
  for (const [path, bytes] of expected) expect(Buffer.compare(written.get(path)!, bytes), path).toBe(0)
  await expect(stat(`${out}.incomplete`)).rejects.toThrow('ENOENT')
}

const refusal = async (...line: string[]) => (await runJson(line)).error.code

describe('an --out that exists', () => {
  it('is replaced if it is empty', async () => {
    const out = fresh()
    await mkdir(out)
    const { code } = await run(args(out))
    expect(code).toBe(0)
    await expectWhole(out)
  })

  it('may be a link to an empty folder, or be reached through one', async () => {
    const [real, link] = [fresh(), fresh()]
    await mkdir(real)
    await symlink(real, link)
    expect((await run(args(link))).code).toBe(0)
    await expectWhole(real)
    await rm(real, { recursive: true })
    await mkdir(real)
    expect((await run(args(join(link, 'below')))).code).toBe(0)
    await expectWhole(join(real, 'below'))
  })

  it('is filled in place if it is the current folder, and left empty after a failure', async () => {
    const [out, before] = [fresh(), process.cwd()]
    await mkdir(out)
    process.chdir(out)
    onTestFinished(() => process.chdir(before))
    // The bar is drawn before the first file is complete.
    const [controller, shown] = [new AbortController(), new Set<string>()]
    const onStderr = () => {
      for (const name of readdirSync(out)) shown.add(name)
      controller.abort()
    }
    expect((await run(args('.'), { signal: controller.signal, isTerminal: true, onStderr })).code).toBe(130)
    expect([[...shown], await readdir(out)]).toEqual([['.aquatint-shard'], []])
    await stopped('.')
    expect(await readdir(out)).toContain('.aquatint-shard')
    // model_index.json marks a repository, so the command writes it last.
    expect(await readdir(out)).not.toContain('model_index.json')
    expect(await refusal('shard', repo, '--out', out)).toBe('out-exists')
    expect((await run(args('.'))).stderr.match(/already complete/g)).toHaveLength(3)
    await expectWhole(out)
  })

  it('is refused if it is a file, a broken link, or a link into the source', async () => {
    const [file, lost, inside, source] = [fresh(), fresh(), fresh(), fresh()]
    await writeFile(file, '')
    await symlink(join(temporary, 'nowhere'), lost)
    await cp(repo, source, { recursive: true })
    await symlink(source, inside)
    expect(await refusal(...args(file))).toBe('out-exists')
    expect(await refusal(...args(lost))).toBe('out-exists')
    expect(await refusal(...args(join(inside, 'sharded'), source))).toBe('out-inside')
    expect(await refusal(...args(join(source, 'sharded'), inside))).toBe('out-inside')
  })
})

it('leaves nothing if no file was complete', async () => {
  const [out, controller] = [fresh(), new AbortController()]
  const onStderr = () => controller.abort()
  expect((await run(args(out), { signal: controller.signal, isTerminal: true, onStderr })).code).toBe(130)
  await expect(stat(out)).rejects.toThrow('ENOENT')
  await expect(stat(`${out}.incomplete`)).rejects.toThrow('ENOENT')
})

describe('what an earlier run left', () => {
  it('is resumed when the run was killed just before or after the result was renamed', async () => {
    const out = fresh()
    await stopped(out)
    const notes = join(`${out}.incomplete`, '.aquatint-shard')
    const kept = fresh()
    await cp(notes, kept, { recursive: true })
    expect((await run(args(out))).code).toBe(0)
    await expectWhole(out)
    // The state after a kill between the rename and the removal of the hidden folder.
    await cp(kept, join(out, '.aquatint-shard'), { recursive: true })
    const again = await run(args(out))
    expect(again.code).toBe(0)
    await expectWhole(out)
    expect(await refusal(...args(out))).toBe('out-exists')
    // The state after a kill just before the rename.
    await rename(out, `${out}.incomplete`)
    await cp(kept, join(`${out}.incomplete`, '.aquatint-shard'), { recursive: true })
    expect((await run(args(out))).code).toBe(0)
    await expectWhole(out)
  })

  it('is discarded when a file of the source has changed', async () => {
    const [out, folder] = [fresh(), fresh()]
    await cp(repo, folder, { recursive: true })
    await stopped(out, folder)
    const changed = join(folder, 'vae/diffusion_pytorch_model.safetensors')
    const bytes = await readFile(changed)
    bytes[bytes.byteLength - 1]! ^= 1
    await writeFile(changed, bytes)
    // The file has the same size as before, so the command can detect the change only by its modification time. Two writes in quick
    // succession may get the same time, so the test sets a later one.
    await utimes(changed, new Date(), new Date(Date.now() + 5000))
    const again = await run(args(out, folder))
    expect([again.code, again.stderr.includes('already complete')]).toEqual([0, false])
    const fromChanged = fresh()
    await run(args(fromChanged, folder))
    const [written, wanted] = [await filesBelow(out), await filesBelow(fromChanged)]
    for (const [path, content] of wanted) expect(Buffer.compare(written.get(path)!, content), path).toBe(0)
    expect(Buffer.compare(Buffer.concat([...written.values()]), Buffer.concat([...expected.values()]))).not.toBe(0)
  })

  it('is not a result when the source changed while it was read', async () => {
    const [out, folder] = [fresh(), fresh()]
    await cp(repo, folder, { recursive: true })
    const changing = await runJson<ShardResult>(args(out, folder), {
      onStderr: (text) => {
        if (/^vae\/.*: \d/.test(text)) appendFileSync(join(folder, 'unet/config.json'), '\n')
      },
    })
    expect(changing.error.code).toBe('source-changed')
    await expect(stat(out)).rejects.toThrow('ENOENT')
  })

  it('keeps the recorded overflows', async () => {
    const [out, folder, controller] = [fresh(), fresh(), new AbortController()]
    await mkdir(folder)
    await writeFile(join(folder, 'config.json'), '{"_class_name": "Toy"}')
    const tensors = { 'a.weight': [1, 70_000, -1e6], 'b.weight': [1, 2, 3], 'c.weight': [1, 2, 1e9] }
    await writeFile(join(folder, 'diffusion_pytorch_model.safetensors'), float32File(tensors))
    const line = ['shard', folder, '--out', out, '--dtype', 'float16', '--max-shard-size', '6']
    let files = 0
    const onStderr = () => {
      if (++files === 2) controller.abort()
    }
    expect((await run(line, { signal: controller.signal, onStderr })).code).toBe(130)
    const { overflows, components } = await runJson<ShardResult>(line)
    expect(components[0]?.files).toHaveLength(3)
    expect(overflows).toEqual([
      { component: '', tensor: 'a.weight', count: 2 },
      { component: '', tensor: 'c.weight', count: 1 },
    ])
  })

  it('is resumed when the result could not be renamed', async () => {
    const out = fresh()
    const onStderr = (text: string) => {
      if (text.startsWith('vae/')) mkdirSync(join(out, 'in-the-way'), { recursive: true })
    }
    const failed = await run([...args(out), '--json'], { onStderr })
    expect([failed.code, JSON.parse(failed.stdout)]).toMatchObject([1, { ok: false, error: { code: 'ENOTEMPTY' } }])
    await rm(out, { recursive: true })
    expect((await run(args(out))).stderr).not.toMatch(/: \d/)
    await expectWhole(out)
  })

  it('is replaced when the removal of an older result was interrupted', async () => {
    const out = fresh()
    await stopped(out)
    // The state after a kill in a run that was removing the files of an earlier run with other options.
    await rm(join(`${out}.incomplete`, '.aquatint-shard/fingerprint'))
    expect((await run(args(out))).code).toBe(0)
    await expectWhole(out)
  })

  it('is written again if its record is truncated', async () => {
    const out = fresh()
    await stopped(out)
    const notes = join(`${out}.incomplete`, '.aquatint-shard/written')
    const [first] = (await filesBelow(notes)).keys()
    await writeFile(join(notes, first!), '')
    expect((await run(args(out))).stderr.match(/already complete/g)).toHaveLength(2)
    await expectWhole(out)
  })

  it('is never the source folder', async () => {
    const [out, folder] = [fresh(), fresh()]
    await cp(repo, folder, { recursive: true })
    await rename(folder, `${out}.incomplete`)
    await mkdir(join(`${out}.incomplete`, '.aquatint-shard'))
    expect(await refusal(...args(out, `${out}.incomplete`))).toBe('out-inside')
    expect((await filesBelow(`${out}.incomplete`)).has('model_index.json')).toBe(true)
  })
})

it('copies read-only files so that they can be replaced', async () => {
  const [out, folder] = [fresh(), fresh()]
  await cp(repo, folder, { recursive: true })
  await chmod(join(folder, 'model_index.json'), 0o444)
  expect((await run(args(out, folder))).code).toBe(0)
  expect((await stat(join(out, 'model_index.json'))).mode & 0o200).toBe(0o200)
  await expectWhole(out)
})

it('does not mix up a file and another one with the name of its unfinished version', async () => {
  const [out, folder] = [fresh(), fresh()]
  await cp(repo, folder, { recursive: true })
  for (const name of ['a', 'a.part', 'unfinished']) await writeFile(join(folder, name), name)
  expect((await run(args(out, folder))).code).toBe(0)
  for (const name of ['a', 'a.part', 'unfinished']) expect(await readFile(join(out, name), 'utf8')).toBe(name)
})
