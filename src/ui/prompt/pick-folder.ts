/** Lets the reader pick a folder with a checkpoint: by the File System Access API, or by the older file input. */

import type { RepositoryReference } from '../../index.js'
import { h } from '../parts/dom.js'

/** A folder that was picked. */
export interface PickedFolder {
  readonly name: string
  readonly reference: RepositoryReference
}

type DirectoryPicker = (options: { readonly mode: 'read' }) => Promise<FileSystemDirectoryHandle>

/** The folder, or undefined when the reader changed their mind. To be called from a click. */
export async function pickFolder(): Promise<PickedFolder | undefined> {
  const { showDirectoryPicker } = window as { readonly showDirectoryPicker?: DirectoryPicker }
  if (showDirectoryPicker === undefined) return pickFiles()
  try {
    const reference = await showDirectoryPicker({ mode: 'read' })
    return { name: reference.name, reference }
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') return undefined
    // A frame of another origin may not open the picker; the input works there.
    return pickFiles()
  }
}

function pickFiles(): Promise<PickedFolder | undefined> {
  const input = h('input', { type: 'file', webkitdirectory: true })
  return new Promise((resolve) => {
    input.addEventListener('cancel', () => resolve(undefined))
    input.addEventListener('change', () => {
      const reference = [...(input.files ?? [])]
      const name = reference[0]?.webkitRelativePath.split('/')[0]
      resolve(name === undefined ? undefined : { name, reference })
    })
    input.click()
  })
}
