/** The lock file describes the installation on every platform, so that `npm ci` works in a fresh clone, and names no registry. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

interface LockedPackage {
  readonly version?: string
  readonly resolved?: string
  readonly integrity?: string
  readonly os?: readonly string[]
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as { packages: Readonly<Record<string, LockedPackage>> }
const packages = Object.entries(lock.packages)

/** Whether Node finds `name` from the package in folder `from`: in its own node_modules or in those of a folder above. */
function isLocked(from: string, name: string): boolean {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
    if (lock.packages[`${folder === '' ? '' : `${folder}/`}node_modules/${name}`] !== undefined) return true
    if (folder === '') return false
  }
}

test('every dependency is in the lock file, the optional packages of other platforms too', () => {
  const missing = packages.flatMap(([folder, { dependencies, optionalDependencies }]) =>
    Object.keys({ ...dependencies, ...optionalDependencies })
      .filter((name) => !isLocked(folder, name))
      .map((name) => `${folder}: ${name}`),
  )
  expect(missing).toEqual([])
  const systems = new Set(packages.flatMap(([, { os }]) => os ?? []))
  expect([...systems]).toEqual(expect.arrayContaining(['darwin', 'linux', 'win32']))
})

test('every package has a checksum, and none the address of a registry', () => {
  const unverified = packages.filter(([folder, { integrity }]) => folder !== '' && integrity === undefined)
  expect(unverified.map(([folder]) => folder)).toEqual([])
  expect(packages.filter(([, { resolved }]) => resolved !== undefined).map(([folder]) => folder)).toEqual([])
})
