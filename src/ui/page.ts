/** The script of `index.html`: connects the prompt box to the gallery, the panels and the URL. */

import './element.js'
import { readAddress, shareLink } from './page/address.js'
import { startDrop } from './page/drop.js'
import { Gallery } from './page/gallery.js'
import { openMachine, showUrgentNotes } from './page/machine-panel.js'
import { bundledSettings } from './page/bundled-settings.js'
import { openModels } from './page/models-panel.js'
import { bundledModel, modelOptions } from './page/known-models.js'
import { rememberForm } from './page/remembered-form.js'
import { startTheme } from './page/theme.js'

const byId = (id: string): HTMLElement => {
  const element = document.getElementById(id)
  if (element === null) throw new TypeError(`The page has no #${id}`)
  return element
}

const box = document.querySelector('aquatint-prompt')
if (box === null) throw new TypeError('The page has no prompt box')
const notes = byId('notes')
const dropped = byId('dropped')

const address = readAddress(new URL(location.href))
box.loadOptions = address.loadOptions
const first = { model: bundledModel, ...address.settings }
box.settings = { ...first, ...(first.model === bundledModel ? bundledSettings(first, true) : {}) }
box.addEventListener('modelchange', ({ detail: model }) => {
  box.settings = bundledSettings(box.settings, model === bundledModel)
})

const remembered = rememberForm(box, performance.getEntriesByType('navigation'))
if (remembered?.model !== undefined) box.restore(remembered)
else if (remembered !== undefined) box.settings = remembered
// The box itself is not focusable, so without this handler the link would only scroll to it.
byId('skip').addEventListener('click', (event) => {
  event.preventDefault()
  box.focus()
})

const gallery = new Gallery(byId('gallery'), {
  onReuse: ({ settings, startImage = null, referenceImages = [] }) => {
    box.restore(settings)
    box.referenceImages = referenceImages
    box.startImage = startImage
    box.focus()
    box.scrollIntoView()
  },
  link: (settings) => shareLink(new URL(location.href), settings),
})
box.addEventListener('image', ({ detail }) => void gallery.keep(detail))

startTheme(byId('theme'), () => box.redraw())
startDrop({
  onSettings: (settings) => box.restore(settings),
  onPicture: (file) => {
    // With a model that takes reference pictures, the box makes the picture one of them.
    box.startImage = file
    return box.pipeline?.info.takesReferences === true ? 'a reference picture' : 'the start picture'
  },
  onFolder: (folder) => {
    box.model = folder
  },
  onLora: (file) => box.addLora(file),
  onEmbedding: (file, word) => box.addEmbedding(file, word),
  onCheckpoint: (file) => {
    box.model = [file]
  },
  say: (text) => dropped.replaceChildren(text),
})
byId('open-models').addEventListener('click', () => openModels())
byId('open-machine').addEventListener('click', () => void openMachine())

void gallery.start()
box.models = modelOptions(undefined)
void showUrgentNotes(notes).then((machine) => {
  box.models = modelOptions(machine)
  return undefined
})

/**
 * Registers the service worker, and resolves when it controls the page. The worker stores only files that are loaded after that, among
 * them the engine's script and WebAssembly, which the next visit needs if it has no network. Does not wait if the worker is active
 * already, or if the browser has no service workers.
 */
async function keepPage(): Promise<void> {
  if (!('serviceWorker' in navigator) || !import.meta.env.PROD) return
  const { serviceWorker } = navigator
  const controlled = new Promise((resolve) => serviceWorker.addEventListener('controllerchange', resolve, { once: true }))
  await new Promise((resolve) => window.addEventListener('load', resolve, { once: true }))
  try {
    const { active } = await serviceWorker.register('./service-worker.js')
    // Wait at most three seconds, because only offline use needs the service worker.
    if (active === null) await Promise.race([controlled, new Promise((resolve) => setTimeout(resolve, 3000))])
  } catch {
    // The browser allows no service workers here. Only offline use needs one.
  }
}

const kept = keepPage()

// A model in the URL is loaded at once. The bundled model is small, so it is loaded as soon as the user focuses a field.
if (address.settings.model !== undefined) void kept.then(() => box.load()).catch(() => {})
else {
  const interested = async () => {
    await kept
    if (box.model === bundledModel && box.state === 'idle') await box.load().catch(() => {})
  }
  box.addEventListener('focusin', () => void interested(), { once: true })
}
