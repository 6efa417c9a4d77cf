"""The renderer: OpenGL on the graphics card, or on the processor by Mesa, without a display.

TensorFlow and Mesa each bring their own LLVM, and a process that loads both crashes. Rendering therefore has processes
of its own (workers.py).
"""

import os
from importlib import resources

import numpy as np

from keras_osnet.data.rendered import mesh, textures
from keras_osnet.data.rendered.paint import ROWS

SHADERS = resources.files("keras_osnet.data.rendered") / "shaders"
FRAME_ROWS = 8 + 6 + 4 + 3 + 16
BLOCKS = ("Frame", "Bones", "Paints")
SAMPLERS = ("shadows", "noises", "patterns", "prints", "normals_and_layers", "rests_and_depths", "surfaces")
# Program: its vertex shader, and its fragment shader with what that includes.
PROGRAMS = {
    "person": ("person.vert", ("paints.glsl", "geometry.frag")),
    "shade": ("shade.vert", ("paints.glsl", "shade.frag")),
    "depth": ("depth.vert", ("depth.frag",)),
    "scene": ("scene.vert", ("scene.frag",)),
}
SHADOW_SIZE = 192
MOST_LAYERS, MOST_BONES = 24, 24  # as in the shaders
FORMATS = {"bones": "u1", "weights": "f1"}  # of fields that are not "f"


class Renderer:
    """Draws people and scenes into an image of colours and identities. One per process."""

    def __init__(self, size):
        # Mesa's own threads would only be in the way of one process per core; it reads this when the context is made.
        os.environ["LP_NUM_THREADS"] = "0"
        self.context, self.gl = _context()
        self.context.gc_mode = "auto"  # of people and scenes that Python frees, buffers are freed too
        self.programs = {
            name: self.context.program(vertex_shader=_source(vertex), fragment_shader=_source(*fragment))
            for name, (vertex, fragment) in PROGRAMS.items()
        }
        for program in self.programs.values():
            for place, block in enumerate(BLOCKS):
                if block in program:
                    program[block].binding = place
            for place, sampler in enumerate(SAMPLERS):
                if sampler in program:
                    program[sampler].value = place
        self.textures = _textures(self.context)
        self.frame = self.context.buffer(reserve=FRAME_ROWS * 16)
        self.frame.bind_to_uniform_block(0)
        self.whole = self.context.vertex_array(self.programs["shade"], [])
        self.canvases, self.shadow_maps = {}, {}
        self.use(size)

    def use(self, size, shadow_size=SHADOW_SIZE):
        """Sets the size (width, height) of the image, and the width of the map of shadows, in pixels."""
        context = self.context
        if size not in self.canvases:
            nearness = context.depth_renderbuffer(size)
            layers = [context.texture(size, 4, dtype="f4") for _ in range(3)]
            target = context.framebuffer([context.renderbuffer(size, 4)], nearness)
            self.canvases[size] = layers, context.framebuffer(layers, nearness), target
        if shadow_size not in self.shadow_maps:
            depth = context.depth_texture((shadow_size, shadow_size))
            depth.compare_func, depth.repeat_x, depth.repeat_y = "<=", False, False
            self.shadow_maps[shadow_size] = depth, context.framebuffer(depth_attachment=depth)
        self.size = size
        self.layers, self.geometry, self.target = self.canvases[size]
        self.shadow_map, self.shadow_target = self.shadow_maps[shadow_size]

    def begin(self, frame):
        """Starts an image: `frame` is the rows of the shaders' block Frame."""
        self.set_frame(frame)
        self.context.enable_only(self.gl.DEPTH_TEST)
        for place, texture in enumerate((self.shadow_map, *self.textures, *self.layers)):
            texture.use(place)
        self.geometry.use()
        self.geometry.clear(0.0, 0.0, 0.0, -1.0, depth=1.0)

    def set_frame(self, frame):
        self.frame.write(frame.astype(np.float32).tobytes())

    def cast_shadows(self, actors):
        """Draws actors, who are posed, into the map of shadows."""
        self.shadow_target.use()
        self.shadow_target.clear(depth=1.0)
        for actor in actors:
            actor.draw("depth")
        self.geometry.use()

    def covered(self):
        """Number of pixels that the people drawn so far cover."""
        return int((np.frombuffer(self.geometry.read(components=4, dtype="f4"), np.float32)[3::4] >= 0).sum())

    def begin_colours(self, background):
        """After all people are drawn: `colour` and `finish` may follow."""
        self.target.use()
        self.context.disable(self.gl.DEPTH_TEST)
        self.target.depth_mask = False  # the people's depths stay
        self.target.clear(*background, 0.0)

    def colour(self, figure, slot, box=None):
        """Colours the person that was drawn with a slot; `box`: (left, bottom, width, height) in pixels, if known."""
        figure.paints.bind_to_uniform_block(2)
        self.programs["shade"]["slot"].value = slot
        self.target.scissor = box
        self.whole.render(vertices=3)
        self.target.scissor = None

    def finish(self, backdrop):
        """Draws the scene behind and before the people.

        Returns:
            (H, W, 4) uint8: colour and, in the last channel, the slot + 1 of the person, 0 for the scene.
        """
        self.target.depth_mask = True
        self.context.enable(self.gl.DEPTH_TEST)
        backdrop.draw()
        content = np.frombuffer(self.target.read(components=4), np.uint8)
        return content.reshape(self.size[1], self.size[0], 4)[::-1]


def _source(*names):
    return "\n".join(["#version 330", *((SHADERS / name).read_text() for name in ("common.glsl", *names))])


def _context():
    try:
        import moderngl
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Rendering people needs moderngl: pip install 'keras-osnet[people]'", name="moderngl"
        ) from error
    try:
        return moderngl.create_context(standalone=True, backend="egl", require=330), moderngl
    except Exception as error:  # moderngl and glcontext raise bare Exceptions
        raise OSError(
            "Rendering people needs OpenGL 3.3 through EGL, on a graphics card or on the processor by Mesa. "
            f"On Debian and Ubuntu: apt-get install libegl1 libgl1-mesa-dri. Received: {error}"
        ) from error


def _textures(context):
    volume, found = textures.noise(), []
    found.append(context.texture3d(volume.shape[2::-1], 2, volume.tobytes()))
    for layers in (textures.patterns(), textures.prints()):
        array = context.texture_array((layers.shape[2], layers.shape[1], len(layers)), 2, layers.tobytes())
        array.build_mipmaps()
        found.append(array)
    return found


class Figure:
    """A person's mesh and paints on the graphics side."""

    def __init__(self, renderer, records, triangles, paints):
        context, self.renderer = renderer.context, renderer
        rows = np.zeros((MOST_LAYERS * ROWS, 4), np.float32)
        stacked = np.concatenate([paint.rows() for paint in paints])
        rows[: len(stacked)] = stacked
        self.vertices, self.indices = context.buffer(records.tobytes()), context.buffer(triangles.tobytes())
        self.paints, self.bones = context.buffer(rows.tobytes()), context.buffer(reserve=MOST_BONES * 64)
        self.arrays = {}
        for name in ("person", "depth"):
            program = renderer.programs[name]
            # What a program does not read is skipped by its bytes.
            form = [
                f"{n}{FORMATS.get(field, 'f')}" if field in program else f"{n * int(kind[1])}x"
                for field, n, kind in mesh.VERTEX
            ]
            used = [field for field, _, _ in mesh.VERTEX if field in program]
            self.arrays[name] = context.vertex_array(program, [(self.vertices, " ".join(form), *used)], self.indices)

    def pose(self, matrices):
        """Sets the bones' matrices (MOST_BONES, 4, 4)."""
        self.bones.write(matrices.transpose(0, 2, 1).astype(np.float32).tobytes())

    def draw(self, name, placed, slot=0):
        program = self.renderer.programs[name]
        self.bones.bind_to_uniform_block(1)
        self.paints.bind_to_uniform_block(2)
        program["placed"].write(np.ascontiguousarray(placed.T, np.float32).tobytes())
        if name == "person":
            program["slot"].value = slot
        self.arrays[name].render()


class Backdrop:
    """A scene's mesh on the graphics side."""

    def __init__(self, renderer, vertices, triangles):
        context, program = renderer.context, renderer.programs["scene"]
        self.vertices, self.indices = context.buffer(vertices.tobytes()), context.buffer(triangles.tobytes())
        names = ["position", "normal", "texture_place", "colour", "material", "seed"]
        self.array = context.vertex_array(program, [(self.vertices, "3f 3f 2f 3f 1f 1f", *names)], self.indices)

    def draw(self):
        self.array.render()
