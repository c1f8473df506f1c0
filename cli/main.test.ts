/** Tests what all commands share: help, the version, and one document on stdout with `--json`. */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { commands } from './commands.js'
import { fixtures, run } from './testing.js'

const { version } = JSON.parse(await readFile(join(fixtures, '../package.json'), 'utf8')) as { version: string }
const names = Object.keys(commands)

describe.each([[['--help']], [['-h']], [['help']]])('%j', (line) => {
  it('lists all commands', async () => {
    const { code, stdout, stderr } = await run(line)
    expect([code, stderr]).toEqual([0, ''])
    for (const name of names) expect(stdout).toContain(`\n  ${name}`)
    expect(JSON.parse((await run([...line, '--json'])).stdout)).toEqual({ ok: true, help: stdout })
  })
})

describe.each(names)('%s', (name) => {
  it('has help with options and examples', async () => {
    const { code, stdout } = await run([name, '--help'])
    expect(code).toBe(0)
    expect(stdout).toMatch(new RegExp(`^Usage: aquatint ${name} <`))
    expect(stdout).toContain('\nExamples\n')
    expect(stdout).toContain('\n  --json ')
    for (const text of stdout.split('\n')) expect(text.length).toBeLessThanOrEqual(130)
    for (const line of [
      [name, '-h'],
      ['help', name],
    ]) {
      expect((await run(line)).stdout).toBe(stdout)
      expect(JSON.parse((await run([...line, '--json'])).stdout)).toEqual({ ok: true, help: stdout })
    }
  })
})

it('prints its version', async () => {
  expect(await run(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
  expect(JSON.parse((await run(['--json', '--version'])).stdout)).toEqual({ ok: true, version })
})

it('prints its help if no command is given, with exit code 2', async () => {
  const { code, stdout } = await run([])
  expect([code, stdout]).toEqual([2, (await run(['--help'])).stdout])
})

it.each([
  [['--json'], 'command'],
  [['quantize', '--json'], 'command'],
  [['help', 'quantize', '--json'], 'command'],
  [['quantize', '--help', '--json'], 'command'],
  [['constructor', '--json'], 'command'],
  [['shard', '--json'], 'arguments'],
  [['inspect', '--json', 'a', 'b'], 'arguments'],
  [['serve', '--json', '--version', 'a'], 'arguments'],
  [['serve', '--follow-links=yes', 'a', '--json'], 'arguments'],
  [['shard', '--json', '--out', 'x', 'a', '--variant', 'a', '--variant', 'b'], 'arguments'],
])('reports in JSON what is wrong with %j, with exit code 2', async (line, error) => {
  const { code, stdout, stderr } = await run(line)
  expect([code, stderr]).toEqual([2, ''])
  expect(JSON.parse(stdout)).toMatchObject({ ok: false, error: { kind: 'InputError', code: error } })
})
