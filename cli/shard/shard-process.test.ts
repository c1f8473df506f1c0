/** `aquatint shard` as a process of its own: killed, interrupted, on a full disk, and the memory that it takes. */

import { spawnSync } from 'node:child_process'
import { rmSync, statfsSync, writeFileSync } from 'node:fs'
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { filesBelow, run, temporaryFolder } from '../testing.js'
import {
  buildCli,
  measurePeak,
  start,
  stopWritingAfter,
  writeNumbers,
  writeSparse,
  type BuiltCli,
  type Exit,
  type Started,
} from '../testing-process.js'

const temporary = await temporaryFolder()
const source = join(temporary, 'source')
const [shardBytes, options] = [8_388_608, ['--dtype', 'float16', '--max-shard-size', '10MB']]
let [cli, expected]: [BuiltCli, ReadonlyMap<string, Buffer>] = [{ path: '', remove: async () => {} }, new Map()]
let count = 0
const fresh = () => join(temporary, String(count++))

const shard = (out: string, ...more: string[]): Started =>
  start(process.execPath, [cli.path, 'shard', source, '--out', out, ...options, ...more])

/** As `shard`, but stops in the middle of the second shard. */
const shardAndStop = (out: string, ...more: string[]): Started =>
  start(process.execPath, [stopWritingAfter(1.1 * shardBytes), cli.path, 'shard', source, '--out', out, ...options, ...more])

beforeAll(async () => {
  cli = await buildCli()
  // Six weights, one for each shard: 16.8 MB each in the source, 8.4 MB as float16.
  await writeNumbers(source, 6)
  const out = fresh()
  expect((await shard(out).exit).code).toBe(0)
  expected = await filesBelow(out)
  expect([...expected.values()].filter(({ byteLength }) => byteLength > shardBytes)).toHaveLength(6)
})
afterAll(() => cli.remove())

/** Resolves when a part of the second shard has been written. */
async function inTheMiddle(out: string): Promise<void> {
  const incomplete = `${out}.incomplete`
  await expect.poll(() => readdir(incomplete).catch(() => [])).toContainEqual(expect.stringContaining('-00001-of-00006'))
  const unfinished = async () => (await stat(join(incomplete, '.aquatint-shard/unfinished')).catch(() => null))?.size ?? 0
  await expect.poll(unfinished).toBeGreaterThan(1_000_000)
}

/** The same command, run again, gives the result of an undisturbed run and does not write complete files again. */
async function expectResumed(out: string, atLeast: number): Promise<Exit> {
  const whole = (await readdir(`${out}.incomplete`)).filter((name) => name.endsWith('.safetensors')).length
  expect(whole).toBeGreaterThanOrEqual(atLeast)
  expect(whole).toBeLessThan(6)
  const again = await shard(out).exit
  expect([again.code, again.stderr.match(/already complete/g)?.length]).toEqual([0, whole])
  await expectWhole(out)
  await expect(stat(`${out}.incomplete`)).rejects.toThrow('ENOENT')
  return again
}

async function expectWhole(out: string): Promise<void> {
  const written = await filesBelow(out)
  expect([...written.keys()]).toEqual([...expected.keys()])
  for (const [path, bytes] of expected) expect(Buffer.compare(written.get(path)!, bytes), path).toBe(0)
}

describe('ended in the middle of a file', () => {
  it('by SIGKILL, resumes after the last complete file', async () => {
    const out = fresh()
    const running = shardAndStop(out)
    await inTheMiddle(out)
    running.child.kill('SIGKILL')
    expect((await running.exit).signal).toBe('SIGKILL')
    await expect(stat(out)).rejects.toThrow('ENOENT')
    expect((await stat(join(`${out}.incomplete`, '.aquatint-shard/unfinished'))).size).toBeGreaterThan(0)
    await expectResumed(out, 1)
  })

  it.each([
    ['SIGINT', ['--json']],
    ['SIGTERM', ['--json']],
    ['SIGINT', []],
  ] as const)('by %s with %j, exits with 130 and says so', async (signal, more) => {
    const out = fresh()
    const running = shardAndStop(out, ...more)
    await inTheMiddle(out)
    running.child.kill(signal)
    const { code, stdout, stderr } = await running.exit
    expect(code).toBe(130)
    if (more.length === 0) expect([stdout, stderr.split('\n').at(-2)]).toEqual(['', 'aquatint: Interrupted.'])
    else expect(JSON.parse(stdout)).toMatchObject({ ok: false, error: { kind: 'AquatintError', code: 'interrupted' } })
    await expectResumed(out, 1)
  })

  // `ulimit -f` limits the size of a file; the kernel refuses larger writes.
  it.skipIf(process.platform === 'win32')('by a write that the system refuses, says what helps', async () => {
    const out = fresh()
    const line = `ulimit -f 8192 && exec "$0" "$@"`
    const args = [cli.path, 'shard', source, '--out', out, '--dtype', 'float16', '--max-shard-size', '20MB', '--json']
    const failed = await start('sh', ['-c', line, process.execPath, ...args]).exit
    expect(failed.code).toBe(1)
    expect(JSON.parse(failed.stdout)).toMatchObject({
      ok: false,
      error: { kind: 'StorageError', code: 'file-size', message: expect.stringContaining('--max-shard-size') as string },
    })
    expect((await shard(out).exit).code).toBe(0)
    await expectWhole(out)
  })
})

describe('on a disk of its own', () => {
  const disk = join(temporary, 'disk')
  const inTheWay = join(disk, 'in-the-way')
  let mounted = false
  afterAll(() => {
    if (mounted) spawnSync('umount', [disk])
  })
  const free = () => {
    const { bavail, bsize } = statfsSync(disk)
    return bavail * bsize
  }
  /** Fills the disk until only `bytes` are free. */
  const leave = (bytes: number) => {
    rmSync(inTheWay, { force: true })
    writeFileSync(inTheWay, new Uint8Array(free() - bytes))
  }

  it('reports a full disk, resumes when there is space, and fills a mount point in place', async ({ skip }) => {
    await mkdir(disk)
    mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', disk]).status === 0
    if (!mounted) skip('This needs the right to mount a tmpfs.')
    const args = ['shard', source, '--out', disk, ...options]
    const failed = await run([...args, '--json'], {
      onStderr: (text) => {
        if (text.includes('-00001-of-')) leave(1.5 * shardBytes)
      },
    })
    expect(failed.code).toBe(1)
    const helps = { kind: 'StorageError', code: 'disk-space', message: expect.stringContaining('free some space') as string }
    expect(JSON.parse(failed.stdout)).toMatchObject({ ok: false, error: helps })
    // A mount point cannot be replaced, so the command fills it in place; its content shows that it is unfinished.
    expect((await readdir(disk)).filter((name) => name.endsWith('.safetensors'))).toHaveLength(2)
    await expect(stat(`${disk}.incomplete`)).rejects.toThrow('ENOENT')

    const unfinished = (await stat(join(disk, '.aquatint-shard/unfinished'))).size
    expect(unfinished).toBeGreaterThan(1_000_000)
    const there = await filesBelow(disk)
    const needed = [...expected].reduce((sum, [path, bytes]) => sum + (there.has(path) ? 0 : bytes.byteLength), 0)
    // This space is enough only if the command first removes the unfinished file.
    leave(needed - unfinished / 2)
    const again = await run(args)
    expect([again.code, again.stderr.match(/already complete/g)?.length]).toEqual([0, 2])
    rmSync(inTheWay)
    await expectWhole(disk)
  })
})

it('refuses a result that does not fit on the disk before it writes anything, with exit code 1', async () => {
  const [large, out] = [join(temporary, 'too-large'), fresh()]
  const { bavail, bsize } = statfsSync(temporary)
  await writeSparse(large, Math.ceil((1.5 * bavail * bsize) / 16_384))
  const { code, stdout } = await run(['shard', large, '--out', out, '--json'])
  expect(code).toBe(1)
  const details = { needed: expect.any(Number) as number, free: expect.any(Number) as number }
  expect(JSON.parse(stdout)).toMatchObject({ error: { kind: 'StorageError', code: 'disk-space', details } })
  await expect(stat(`${out}.incomplete`)).rejects.toThrow('ENOENT')
})

describe('memory', () => {
  const bytes = 600_014_848
  beforeAll(() => writeSparse(join(temporary, 'large'), bytes / 16_384))

  it.each([[[]], [['--dtype', 'q8']]])(
    'a file of 600 MB with one tensor takes less memory than a third of its size, with %j',
    async (more) => {
      const out = fresh()
      const args = ['shard', join(temporary, 'large'), '--out', out, '--max-shard-size', '10GB', ...more]
      const { code, peakBytes } = await measurePeak(cli, args)
      expect(code).toBe(0)
      expect(peakBytes).toBeGreaterThan(40e6)
      expect(peakBytes).toBeLessThan(200e6)
      await rm(out, { recursive: true })
    },
  )
})
