import { expect, it } from 'vitest'
import { FolderRepository } from './folder-repository.js'

function fileAt(path: string, text: string): File {
  const file = new File([text], path.split('/').at(-1) ?? '')
  return Object.defineProperty(file, 'webkitRelativePath', { value: path })
}

const fileHandle = (name: string, text: string) => ({
  kind: 'file',
  name,
  getFile: () => Promise.resolve(new File([text], name)),
})
const directoryHandle = (name: string, entries: { name: string }[]): unknown => ({
  kind: 'directory',
  name,
  async *entries() {
    for (const entry of entries) yield [entry.name, entry]
  },
})

it('lists and reads the files of a picked folder', async () => {
  const folder = FolderRepository.fromFiles([fileAt('model/unet/config.json', '{"a":1}'), fileAt('model/model_index.json', '{}')])
  expect(folder.id).toBe('model')
  expect(await folder.files()).toEqual([
    { path: 'model_index.json', size: 2 },
    { path: 'unet/config.json', size: 7 },
  ])
  const source = await folder.open('unet/config.json')
  expect(new TextDecoder().decode(await source.read({ begin: 1, end: 4 }))).toBe('"a"')
  await expect(source.read({ begin: 0, end: 8 })).rejects.toMatchObject({ code: 'range-out-of-bounds' })
  await expect(folder.open('none')).rejects.toMatchObject({ code: 'file-not-found' })
  await expect(folder.open('unet/config.json', { maxBytes: 6 })).rejects.toMatchObject({ code: 'file-too-large' })
})

it('uses the names of files that are not in a folder', async () => {
  const folder = FolderRepository.fromFiles([new File(['x'], 'a.safetensors'), new File(['y'], 'b.json')])
  expect((await folder.files()).map((file) => file.path)).toEqual(['a.safetensors', 'b.json'])
})

it('lists a directory handle without the hidden files of tools', async () => {
  const handle = directoryHandle('model', [
    fileHandle('model_index.json', '{}'),
    directoryHandle('.git', [fileHandle('HEAD', 'x')]) as { name: string },
    directoryHandle('vae', [fileHandle('config.json', '{"b":2}')]) as { name: string },
  ])
  const folder = await FolderRepository.fromDirectory(handle as FileSystemDirectoryHandle)
  expect((await folder.files()).map((each) => each.path)).toEqual(['model_index.json', 'vae/config.json'])
})

it('reports a file that was changed after it was picked', async () => {
  const file = fileAt('model/a.json', '{}')
  Object.defineProperty(file, 'slice', {
    value: () => ({ arrayBuffer: () => Promise.reject(new DOMException('', 'NotReadableError')) }),
  })
  const source = await FolderRepository.fromFiles([file]).open('a.json')
  await expect(source.read({ begin: 0, end: 1 })).rejects.toMatchObject({ code: 'file-changed' })
})
