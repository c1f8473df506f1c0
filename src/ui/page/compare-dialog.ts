/** Compares two pictures: one over the other with a movable divider, and their settings side by side. */

import { h } from '../parts/dom.js'
import { openDialog } from './dialog.js'
import type { GalleryEntry } from './gallery-store.js'
import { settingRows } from './setting-rows.js'

interface Side {
  readonly entry: GalleryEntry
  readonly file: Blob
}

/** Opens the dialog. */
export function openCompare(left: Side, right: Side): void {
  const urls = [left, right].map(({ file }) => URL.createObjectURL(file))
  const images = [left, right].map(({ entry }, index) =>
    h('img', {
      src: urls[index],
      alt: `${index === 0 ? 'Left' : 'Right'}: ${entry.settings.prompt}`,
      width: entry.width,
      height: entry.height,
    }),
  )
  const pair = h('div', { class: 'pair' }, ...images)
  const split = h('input', {
    type: 'range',
    class: 'split',
    min: 0,
    max: 100,
    value: 50,
    'aria-label': 'Divider position, in percent',
  })
  split.addEventListener('input', () => pair.style.setProperty('--split', `${split.value}%`))
  const pictures = h('div', { class: 'pictures' }, pair, split)
  const content = h('div', { class: 'picture-view' }, pictures, differences(left.entry, right.entry))
  openDialog('Compare', content, { wide: true, onClose: () => urls.forEach((url) => URL.revokeObjectURL(url)) })
}

function differences(left: GalleryEntry, right: GalleryEntry): HTMLElement {
  const [a, b] = [new Map(settingRows(left.settings)), new Map(settingRows(right.settings))]
  const names = [...new Set([...a.keys(), ...b.keys()])]
  return h(
    'table',
    {},
    h(
      'thead',
      {},
      h('tr', {}, h('th', { scope: 'col' }, 'Setting'), h('th', { scope: 'col' }, 'Left'), h('th', { scope: 'col' }, 'Right')),
    ),
    h(
      'tbody',
      {},
      ...names.map((name) => {
        const [one, two] = [a.get(name) ?? '–', b.get(name) ?? '–']
        return h(
          'tr',
          { class: one === two ? '' : 'differs' },
          h('th', { scope: 'row' }, name),
          h('td', {}, one),
          h('td', {}, two),
        )
      }),
    ),
  )
}
