/** What `npx aquatint` runs: the file that `npm run build:cli` makes, in a process of its own. */

import { execFile } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { build } from 'vite'
import { fixtures, temporaryFolder } from './testing.js'

const root = fileURLToPath(new URL('..', import.meta.url))
// Below the project, so that it finds what package.json depends on, as an installed package does.
const outDir = join(root, 'dist/cli-under-test')
const cli = join(outDir, 'cli.js')
const temporary = await temporaryFolder()

beforeAll(async () => {
  await build({ root, configFile: join(root, 'vite.config.ts'), mode: 'cli', logLevel: 'error', build: { outDir } })
})
afterAll(() => rm(outDir, { recursive: true }))

function aquatint(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [cli, ...args], { cwd: temporary }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    )
  })
}

it('is a script that Node runs', async () => {
  expect((await readFile(cli, 'utf8')).split('\n', 1)).toEqual(['#!/usr/bin/env node'])
  const { code, stdout, stderr } = await aquatint('--help')
  expect([code, stderr]).toEqual([0, ''])
  for (const command of ['shard', 'inspect', 'serve']) {
    expect(stdout).toContain(`\n  ${command}`)
    const { stdout: help } = await aquatint(command, '--help')
    expect(help).toMatch(new RegExp(`^Usage: aquatint ${command} <`))
    expect(help).toContain('\nExamples\n')
    for (const line of help.split('\n')) expect(line.length).toBeLessThanOrEqual(130)
  }
})

it('does its work, and exits with what came of it', async () => {
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
