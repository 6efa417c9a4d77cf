in vec3 position;
in vec3 normal;
in vec2 texture_place;
in vec3 colour;
in float material;
in float seed;
out vec3 v_position;
out vec3 v_normal;
out vec2 v_texture;
flat out vec3 v_colour;
flat out int v_material;
flat out float v_seed;

void main() {
    v_position = position;
    v_normal = normal;
    v_texture = texture_place;
    v_colour = colour;
    v_material = int(material + 0.5);
    v_seed = seed;
    gl_Position = view_projection * vec4(position, 1.0);
}
