/** A PNG dropped on the page, or pasted, gives its settings back. */

import { isAquatintError, readPngText } from '../../index.js'
import { fromPngText, type PromptSettings } from '../prompt/settings.js'

/** Listens. `onSettings` gets what a picture holds, `onProblem` why there is nothing. */
export function startDrop(onSettings: (settings: Partial<PromptSettings>) => void, onProblem: (text: string) => void): void {
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
    if (!holdsFile(event)) return
    event.preventDefault()
    void take(event.dataTransfer?.files[0])
  })
  root.addEventListener('paste', (event) => {
    const file = event.clipboardData?.files[0]
    if (file !== undefined) void take(file)
  })

  async function take(file: File | undefined): Promise<void> {
    if (file === undefined) return
    try {
      const settings = fromPngText(await readPngText(file))
      if (settings === undefined)
        onProblem(`${file.name} holds no settings of Aquatint’s. Pictures saved here do, unless a site has re-encoded them.`)
      else onSettings(settings)
    } catch (error) {
      onProblem(isAquatintError(error) ? `${file.name}: ${error.message}` : `${file.name} could not be read.`)
    }
  }
}

function holdsFile(event: DragEvent): boolean {
  return event.dataTransfer?.types.includes('Files') === true
}
