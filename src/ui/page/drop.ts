/**
 * Handles pictures that are dropped or pasted on the page: a picture saved from Aquatint or AUTOMATIC1111's web UI restores its settings,
 * any other becomes the start picture or a reference picture. A dropped folder or checkpoint file becomes the model; the file of a LoRA
 * or an embedding is added to the box.
 */

import { isAquatintError, readPngText } from '../../index.js'
import { isWeightsName, readDroppedWeights } from './dropped-weights.js'
import { fromPngText, type PromptSettings } from '../parts/settings.js'

/** What the page does with a dropped file or folder. */
export interface DropActions {
  readonly onSettings: (settings: Partial<PromptSettings>) => void
  /** Returns what the page uses the picture for. */
  readonly onPicture: (picture: File) => string
  readonly onFolder: (folder: FileSystemDirectoryHandle) => void
  /** Called with the file of a LoRA. */
  readonly onLora: (file: File) => void
  /** Called with the file of an embedding, and the word by which prompts use it. */
  readonly onEmbedding: (file: File, word: string) => void
  /** Called with a checkpoint in one file. */
  readonly onCheckpoint: (file: File) => void
  readonly say: (text: string) => void
}

/** Listens for dropped and pasted files on the whole page. */
export function startDrop(actions: DropActions): void {
  const root = document.documentElement
  root.addEventListener('dragover', (event) => {
    if (!holdsFile(event)) return
    event.preventDefault()
    root.classList.add('dropping')
  })
  root.addEventListener('dragleave', (event) => {
    if (event.relatedTarget === null) root.classList.remove('dropping')
  })
  root.addEventListener('drop', (event) => {
    root.classList.remove('dropping')
    const file = event.dataTransfer?.files[0]
    // A more specific drop target, such as the start picture field, has already handled it.
    if (event.defaultPrevented || file === undefined) return
    event.preventDefault()
    const item: DroppedItem | undefined = event.dataTransfer?.items[0]
    if (item?.webkitGetAsEntry()?.isDirectory === true) void takeFolder(item, actions)
    else void take(file, actions)
  })
  root.addEventListener('paste', (event) => {
    const file = event.clipboardData?.files[0]
    if (!event.defaultPrevented && file !== undefined) void take(file, actions)
  })
}

/** A dropped item, in browsers with the File System Access API. */
type DroppedItem = DataTransferItem & { readonly getAsFileSystemHandle?: () => Promise<FileSystemHandle | null> }

async function takeFolder(item: DroppedItem, { onFolder, say }: DropActions): Promise<void> {
  const handle = await item.getAsFileSystemHandle?.()
  if (handle?.kind !== 'directory')
    return say('This browser cannot open a dropped folder. Use “Folder…” next to the model field.')
  onFolder(handle as FileSystemDirectoryHandle)
  say(`The model is now the folder ${handle.name}.`)
}

async function take(file: File, { onSettings, onPicture, onLora, onEmbedding, onCheckpoint, say }: DropActions): Promise<void> {
  if (isWeightsName(file.name)) {
    const weights = await readDroppedWeights(file)
    if (weights.kind === 'pickle')
      return say(`${file.name} is a pickle file, which can run code when it is read. Use a safetensors file instead.`)
    if (weights.kind === 'lora') {
      onLora(file)
      return say(`${file.name} was added to the LoRAs.`)
    }
    if (weights.kind === 'embedding') {
      onEmbedding(file, weights.word)
      return say(`Prompts can now use the word ${weights.word}.`)
    }
    onCheckpoint(file)
    return say(`The model is now the file ${file.name}.`)
  }
  try {
    const settings = file.type === 'image/png' || file.name.endsWith('.png') ? fromPngText(await readPngText(file)) : undefined
    if (settings !== undefined) {
      onSettings(settings)
      say(`Restored the settings of ${file.name}.`)
    } else if (file.type.startsWith('image/')) {
      const decoded = await createImageBitmap(file)
      decoded.close()
      say(`${file.name} is now ${onPicture(file)}.`)
    } else say(`${file.name} is not a picture.`)
  } catch (error) {
    say(isAquatintError(error) ? `${file.name}: ${error.message}` : `${file.name} could not be read.`)
  }
}

function holdsFile(event: DragEvent): boolean {
  return event.dataTransfer?.types.includes('Files') === true
}
