// Android's name, so that Embedder.kt compiles without an Android SDK.
package android.content.res

class AssetManager
