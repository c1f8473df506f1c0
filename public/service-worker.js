/**
 * Keeps the page itself, its scripts and the runtime's wasm, so that it opens without a network. It never touches a model: weights
 * are fetched in ranges and kept, checked, by the engine's own cache.
 *
 * Everything it keeps gets the headers of an isolated page, so that from the second visit on the CPU's kernels use threads, on hosts that do not
 * send these headers. A frame of another site stays as its host sends it.
 */

const cacheName = 'aquatint-shell-2'
const scope = new URL(self.registration.scope)

self.addEventListener('install', (event) => {
  event.waitUntil(refreshShell().then(() => self.skipWaiting()))
})

self.addEventListener('activate', (event) => {
  event.waitUntil(dropOldCaches().then(() => self.clients.claim()))
})

self.addEventListener('fetch', (event) => {
  const { request } = event
  const url = new URL(request.url)
  if (request.method !== 'GET' || url.origin !== scope.origin || !url.pathname.startsWith(scope.pathname)) return
  if (request.headers.has('range')) return
  const path = url.pathname.slice(scope.pathname.length)
  if (request.mode === 'navigate' && (path === '' || path === 'index.html')) event.respondWith(openPage(event))
  else if (path.startsWith('assets/')) event.respondWith(fromCacheFirst(request))
  else if (path.startsWith('icons/') || path === 'manifest.webmanifest') event.respondWith(fromNetworkFirst(request))
})

/** The page as the network has it, else as it was. */
async function openPage(event) {
  try {
    const response = await fetch(event.request)
    if (response.ok) event.waitUntil(response.clone().text().then(refreshShell))
    return isolated(response)
  } catch (error) {
    const cached = await caches.match(scope.href, { cacheName })
    if (cached !== undefined) return cached
    throw error
  }
}

/**
 * The response with the headers of an isolated page, or of a script that such a page may run as a worker. Other sites' files are fetched with CORS, so
 * `require-corp` refuses none of them; Safari knows no other value.
 */
function isolated(response) {
  // A redirect, which only the browser can follow.
  if (response.status === 0) return response
  const { status, statusText } = response
  const headers = new Headers(response.headers)
  headers.set('cross-origin-opener-policy', 'same-origin')
  headers.set('cross-origin-embedder-policy', 'require-corp')
  return new Response(response.body, { status, statusText, headers })
}

/** Names under assets/ hold a hash of their content: what is cached is right. */
async function fromCacheFirst(request) {
  const cached = await caches.match(request.url, { cacheName })
  if (cached !== undefined) return cached
  const response = isolated(await fetch(request))
  await keep(request.url, response)
  return response
}

async function fromNetworkFirst(request) {
  try {
    const response = await fetch(request)
    await keep(request.url, response)
    return response
  } catch (error) {
    const cached = await caches.match(request.url, { cacheName })
    if (cached !== undefined) return cached
    throw error
  }
}

async function keep(url, response) {
  if (!response.ok || response.status !== 200) return
  const copy = response.clone()
  try {
    const cache = await caches.open(cacheName)
    await cache.put(url, copy)
  } catch {
    // Storage is full: the page works, it only does not open offline.
  }
}

/**
 * Keeps the page and what it names. A page that has changed comes with other assets; the old ones go once all of the new are here, so
 * that the page opens offline whatever happens between.
 */
async function refreshShell(text) {
  const cache = await caches.open(cacheName)
  const page = text ?? (await (await fetch(scope.href, { cache: 'no-cache' })).text())
  const before = await cache.match(scope.href)
  if (before !== undefined && (await before.text()) === page) return
  const old = await cache.keys()
  const named = new Set(
    [...page.matchAll(/(?:src|href)="(\.\/(?:assets|icons)\/[^"]+|\.\/manifest\.webmanifest)"/g)].map(([, path]) => new URL(path, scope).href),
  )
  await Promise.all([...named].map((url) => add(cache, url)))
  await cache.put(scope.href, isolated(new Response(page, { headers: { 'content-type': 'text/html; charset=utf-8' } })))
  for (const request of old) if (request.url !== scope.href && !named.has(request.url)) await cache.delete(request)
}

async function add(cache, url) {
  const response = await fetch(url)
  if (!response.ok) throw new TypeError(`${url} answered ${response.status}`)
  await cache.put(url, isolated(response))
}

async function dropOldCaches() {
  for (const name of await caches.keys()) if (name.startsWith('aquatint-shell-') && name !== cacheName) await caches.delete(name)
}
