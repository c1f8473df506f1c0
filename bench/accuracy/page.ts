/**
 * The page of `npm run bench:gpu -- --accuracy --browser firefox`: runs a network whose files the server has, and compares the network's
 * result with PyTorch's.
 */

import type { ByteRange, ByteSource, Repository } from '../../src/hub/types.js'
import { networkError, type ErrorForm } from '../gpu/network-error.js'
import { judgedPath, type JudgedFile } from './served-folder.js'

/** A file of the folder; its bytes are read by range. */
class ServedFile implements ByteSource {
  readonly byteLength: number
  readonly #path: string

  constructor({ path, size }: JudgedFile) {
    this.byteLength = size
    this.#path = path
  }

  async read({ begin, end }: ByteRange): Promise<Uint8Array<ArrayBuffer>> {
    if (begin === end) return new Uint8Array()
    const response = await fetch(`${judgedPath}${this.#path}?begin=${begin}&end=${end}`, { cache: 'no-store' })
    if (!response.ok) throw new Error(`${this.#path}: ${response.status}`)
    return new Uint8Array(await response.arrayBuffer())
  }
}

function repositoryOf(files: readonly JudgedFile[]): Repository {
  return {
    id: 'judged',
    revision: 'served',
    files: async () => files,
    open: async (path) => {
      const file = files.find((one) => one.path === path)
      if (file === undefined) throw new Error(`There is no file ${path}.`)
      return new ServedFile(file)
    },
  }
}

/** The files of the network, and how to run it. */
export interface PageRequest {
  readonly files: readonly JudgedFile[]
  readonly form: ErrorForm
}

const judgeNetwork = ({ files, form }: PageRequest): Promise<number> => networkError(repositoryOf(files), form)

Object.assign(globalThis, { judgeNetwork })
