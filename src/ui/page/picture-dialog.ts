/** One picture large, with what made it and what can be done with it. */

import type { PromptSettings } from '../element.js'
import { h, setText } from '../parts/dom.js'
import { openDialog } from './dialog.js'
import type { GalleryEntry } from './gallery-store.js'
import { settingRows } from './setting-rows.js'

/** What the page does for the dialog's buttons. */
export interface PictureActions {
  /** Puts the settings into the prompt box. */
  readonly onReuse: (settings: PromptSettings) => void
  /** A link to the page that holds the settings. */
  readonly link: (settings: PromptSettings) => string
  readonly onDelete: () => void
}

/** Opens the dialog. */
export function openPicture(entry: GalleryEntry, file: Blob, { onReuse, link, onDelete }: PictureActions): void {
  const { settings } = entry
  const url = URL.createObjectURL(file)
  const said = h('p', { role: 'status' })
  const say = (text: string) => setText(said, text)
  const copied = (promise: Promise<void>, what: string) => {
    promise.then(
      () => say(`${what} copied.`),
      () => say('The browser did not allow copying.'),
    )
  }
  const content = h(
    'div',
    { class: 'picture' },
    h('img', { src: url, alt: `Picture for: ${settings.prompt}`, width: entry.width, height: entry.height }),
    h(
      'div',
      { class: 'tools' },
      h('button', { type: 'button', onclick: () => reuse() }, 'Use these settings'),
      h('a', { href: url, download: entry.name, class: 'button' }, 'Save PNG'),
      h('button', { type: 'button', onclick: () => copied(copyPicture(file), 'Picture') }, 'Copy picture'),
      h('button', { type: 'button', onclick: () => copied(navigator.clipboard.writeText(link(settings)), 'Link') }, 'Copy link'),
      h('button', { type: 'button', onclick: () => remove() }, 'Delete'),
    ),
    said,
    h('dl', { class: 'facts' }, ...settingRows(settings).flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)])),
  )
  const dialog = openDialog('Picture', content, { wide: true, onClose: () => URL.revokeObjectURL(url) })
  const reuse = () => {
    dialog.close()
    onReuse(settings)
  }
  const remove = () => {
    dialog.close()
    onDelete()
  }
}

async function copyPicture(file: Blob): Promise<void> {
  await navigator.clipboard.write([new ClipboardItem({ 'image/png': file })])
}
