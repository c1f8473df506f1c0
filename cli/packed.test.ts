/** Tests the file that `npm run build:cli` builds and `npx aquatint` runs. It runs in a separate process. */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { fixtures, temporaryFolder } from './testing.js'
import { buildCli, start, type BuiltCli } from './testing-process.js'

const temporary = await temporaryFolder()
let cli: BuiltCli
beforeAll(async () => {
  cli = await buildCli()
})
afterAll(() => cli.remove())

const aquatint = (...args: string[]) => start(process.execPath, [cli.path, ...args], temporary).exit

it('is a script that Node runs', async () => {
  expect((await readFile(cli.path, 'utf8')).split('\n', 1)).toEqual(['#!/usr/bin/env node'])
  const { code, stdout, stderr } = await aquatint('--help')
  expect([code, stderr]).toEqual([0, ''])
  for (const command of ['shard', 'inspect', 'serve']) expect(stdout).toContain(`\n  ${command}`)
  expect(await aquatint('--version')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) as string })
})

it('runs commands and exits with their exit code', async () => {
  const repo = join(fixtures, 'tiny-sd15/repo')
  const sharded = await aquatint('shard', repo, '--out', 'out', '--dtype', 'q8')
  expect([sharded.code, sharded.stdout]).toEqual([0, expect.stringContaining('Written to')])
  const inspected = await aquatint('inspect', 'out', '--json')
  expect(JSON.parse(inspected.stdout)).toMatchObject({ ok: true, pipeline: 'StableDiffusionPipeline', runs: { ok: true } })
  expect((await aquatint()).code).toBe(2)
  const again = await aquatint('shard', repo, '--out', 'out')
  expect([again.code, again.stderr]).toEqual([2, expect.stringContaining('aquatint: --out')])
  expect((await aquatint('inspect', fixtures)).code).toBe(1)
})
