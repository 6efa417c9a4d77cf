in vec3 v_position;
in vec3 v_normal;
in vec2 v_texture;
flat in vec3 v_colour;
flat in int v_material;
flat in float v_seed;
out vec4 fragment;

// Order of scenery.MATERIALS.
const int PLAIN = 0, ASPHALT = 1, PAVING = 2, BRICKS = 3, CONCRETE = 4, GRASS = 5, LEAVES = 6, FACADE = 7, SHOP = 8,
    SHUTTER = 9, POSTER = 10, PLANKS = 11, POLISHED = 12, SKY = 13, BARS = 14, STEPS = 15, SHELVES = 16, SAND = 17, CEILING = 18, HEDGE = 19;

vec3 any_colour(vec2 key) {
    float hue = hash2(key) * 6.0, pale = hash2(key + 3.0), value = hash2(key + 7.0);
    vec3 wheel = clamp(abs(mod(hue + vec3(0, 4, 2), 6.0) - 3.0) - 1.0, 0.0, 1.0);
    return (0.04 + 0.7 * value * value) * mix(wheel, vec3(1), pale * 0.8);
}

// What lies behind glass: dark, with soft shapes of goods, lamps and reflections.
vec3 behind_glass(vec2 p, vec3 base, float dark) {
    vec2 shelf = vec2(p.x * 2.2, p.y * 1.8) + v_seed * 13.0;
    vec3 goods = any_colour(floor(shelf)) * step(0.45, hash2(floor(shelf) + 2.0)) * smoothstep(0.0, 0.25, fract(shelf.x)) * smoothstep(1.0, 0.7, fract(shelf.y));
    float lamp = step(0.93, hash2(floor(p * vec2(0.8, 1.0) + v_seed * 31.0))) * step(1.8, p.y);
    float reflection = noise2(p * vec2(0.5, 0.35) + v_seed * 5.0);
    return base * 0.12 * dark + goods * 0.35 * dark + lamp * 0.9 + sky_colour.rgb * 0.22 * reflection * reflection;
}

void main() {
    vec3 n = normalize(gl_FrontFacing ? v_normal : -v_normal);
    vec2 p = v_texture;
    vec3 colour = v_colour, glow = vec3(0);
    float gloss = 0.0;
    float large = noise2(p * 0.45 + v_seed * 17.0), fine = noise2(p * 9.0 + v_seed * 5.0);
    if (v_material == SKY) {
        vec3 sky = mix(haze_colour.rgb, sky_colour.rgb * 1.4, clamp((v_position.y - 2.0) / 40.0, 0.0, 1.0));
        sky *= 0.92 + 0.3 * noise2(vec2(atan(v_position.x, v_position.z) * 5.0, v_position.y * 0.12));
        glow = sky;
    }
    if (v_material == ASPHALT) {
        colour *= 0.72 + 0.3 * large + 0.26 * fine + 0.2 * noise2(p * 40.0);
        float crack = abs(noise2(p * 0.7 + 11.0) - 0.5);
        colour *= 1.0 - 0.45 * smoothstep(0.02, 0.0, crack);
        float line = step(abs(mod(p.x + v_seed * 5.0, 6.0) - 3.0), 0.07) * step(0.4, fract(p.y * 0.25)) * step(0.5, v_seed);
        float zebra = step(0.85, v_seed) * step(fract(p.x * 0.9), 0.5) * step(abs(mod(p.y, 14.0) - 7.0), 1.5);
        colour = mix(colour, vec3(0.7), max(line, zebra) * (0.5 + 0.5 * fine));
        gloss = sun_colour.w;
    }
    if (v_material == PAVING || v_material == POLISHED) {
        float size = v_material == POLISHED ? 0.6 + 0.6 * v_seed : 0.25 + 0.6 * v_seed * v_seed;
        vec2 q = p / vec2(size, size * (v_seed > 0.6 ? 0.5 : 1.0));
        q.x += 0.5 * mod(floor(q.y), 2.0) * step(0.3, v_seed);
        vec2 i = floor(q), f = fract(q);
        float joint = step(min(f.x, f.y), v_material == POLISHED ? 0.02 : 0.06);
        float tile = hash2(i + v_seed * 9.0);
        float two = step(0.75, v_seed) * mod(i.x + i.y, 2.0);
        colour *= (0.7 + 0.3 * tile + 0.3 * large + 0.16 * fine) * (1.0 - 0.3 * two) * (1.0 - 0.55 * joint);
        colour *= 1.0 - 0.5 * step(0.975, hash2(floor(p * 7.0) + v_seed)) * fine;
        gloss = v_material == POLISHED ? 0.7 : sun_colour.w;
        if (v_material == POLISHED) colour *= 0.85 + 0.3 * noise2(p * vec2(0.8, 0.15) + 3.0);
    }
    if (v_material == BRICKS) {
        vec2 q = p / vec2(0.24, 0.08);
        q.x += 0.5 * mod(floor(q.y), 2.0);
        vec2 f = fract(q);
        float joint = step(f.x, 0.06) + step(f.y, 0.14);
        colour = mix(colour * (0.7 + 0.5 * hash2(floor(q))), vec3(0.45), min(joint, 1.0) * 0.6) * (0.8 + 0.3 * large);
    }
    if (v_material == CONCRETE) {
        vec2 f = fract(p / vec2(1.8, 1.2));
        colour *= (0.75 + 0.35 * large + 0.08 * fine) * (1.0 - 0.35 * step(min(f.x, f.y), 0.015)) * (0.8 + 0.2 * smoothstep(0.0, 0.8, p.y));
    }
    if (v_material == GRASS) {
        colour *= 0.6 + 0.35 * large + 0.5 * fine * noise2(p * 23.0);
    }
    if (v_material == LEAVES || v_material == HEDGE) {
        float leaf = noise(v_position * 7.0 + v_seed * 20.0), small = noise(v_position * 17.0);
        if (v_material == LEAVES && leaf + 0.4 * small < 0.42) discard;
        colour *= 0.35 + 0.9 * leaf * small + 0.5 * small;
    }
    if (v_material == FACADE) {
        vec2 cell = vec2(2.0 + 1.5 * v_seed, 2.8 + 0.5 * hash2(vec2(v_seed, 1.0)));
        vec2 i = floor(p / cell), f = fract(p / cell);
        float wide = 0.25 + 0.3 * hash2(vec2(v_seed, 5.0));
        bool window = abs(f.x - 0.5) < wide && f.y > 0.3 && f.y < 0.85;
        bool frame = abs(f.x - 0.5) < wide + 0.04 && f.y > 0.27 && f.y < 0.88;
        float lit = step(0.75, hash2(i + v_seed * 3.0)) * step(sky_colour.b, 0.6);
        colour *= 0.75 + 0.3 * large + 0.06 * fine;
        if (window) { colour = vec3(0.05, 0.06, 0.08) + sky_colour.rgb * 0.3 * noise2(p * 0.4 + i * 3.0) ; glow = vec3(0.9, 0.7, 0.4) * lit * 0.7; gloss = 0.4; }
        else if (frame) colour = mix(colour, vec3(0.7), 0.6);
        else if (abs(f.y - 0.05) < 0.03) colour *= 0.7;
    }
    if (v_material == SHOP) {
        vec2 f = vec2(fract(p.x / (1.2 + v_seed)), p.y);
        bool frame = f.x < 0.05 || f.y < 0.15 + 0.4 * step(0.6, v_seed) || abs(f.y - 2.5) < 0.06;
        if (p.y > 2.6) {
            vec2 letters = floor(vec2(p.x * 3.0, (p.y - 2.8) * 4.0));
            float writing = step(0.35, hash2(letters + v_seed)) * step(2.85, p.y) * step(p.y, 3.35) * step(abs(fract(p.x * 0.15) - 0.5), 0.35);
            colour = mix(any_colour(vec2(v_seed, 2.0)), any_colour(vec2(v_seed, 8.0)) + 0.2, writing);
            glow = colour * 0.6 * step(sky_colour.b, 0.4);
        } else if (!frame) { colour = behind_glass(p, v_colour, 0.3 + 1.4 * hash2(vec2(v_seed, 3.0))); glow = colour * 1.2 * step(sky_colour.b, 0.4); gloss = 0.5; }
        else colour *= 0.6;
    }
    if (v_material == SHUTTER) {
        colour *= 0.65 + 0.35 * smoothstep(0.0, 0.5, abs(fract(p.y * 8.0) - 0.5)) + 0.15 * large;
    }
    if (v_material == POSTER) {
        vec2 q = p / vec2(1.1 + v_seed, 1.5);
        vec2 i = floor(q), f = fract(q);
        vec3 back = any_colour(i + v_seed * 7.0) + 0.08, front = any_colour(i + v_seed * 3.0 + 20.0);
        float shape = step(length((f - vec2(0.5, 0.55)) / vec2(0.3, 0.25 + 0.2 * hash2(i))), 1.0);
        float lines = step(f.y, 0.25) * step(fract(f.y * 18.0), 0.5) * step(abs(f.x - 0.5), 0.4);
        colour = mix(mix(back, front, shape * (0.6 + 0.4 * noise2(q * 6.0))), vec3(0.75), lines * 0.7);
        if (min(min(f.x, 1.0 - f.x), min(f.y, 1.0 - f.y)) < 0.03) colour = vec3(0.25);
        colour = mix(colour, v_colour, 0.25);
    }
    if (v_material == PLANKS) {
        float board = floor(p.x * 6.0);
        colour *= 0.7 + 0.35 * hash2(vec2(board, v_seed)) + 0.2 * noise2(p * vec2(30.0, 2.0)) - 0.3 * step(fract(p.x * 6.0), 0.06);
    }
    if (v_material == BARS) {
        if (fract(p.x * 7.0) > 0.22 && abs(fract(p.y * 0.95) - 0.5) < 0.46) discard;
        colour *= 0.8;
    }
    if (v_material == STEPS) {
        colour *= 0.7 + 0.35 * large + 0.1 * fine;
    }
    if (v_material == SHELVES) {
        vec2 q = vec2(p.x * 7.0, p.y * 2.6);
        vec2 i = floor(q), f = fract(q);
        float tall = 0.45 + 0.45 * hash2(vec2(floor(i.x / 4.0), i.y) + v_seed);
        colour = f.y < tall ? any_colour(vec2(floor(i.x / 3.0), i.y) + v_seed * 11.0) * (0.7 + 0.6 * hash2(i)) : v_colour * 0.15;
        if (f.y > 0.93) colour = v_colour * 0.8;
    }
    if (v_material == SAND) {
        colour *= 0.75 + 0.3 * large + 0.25 * fine;
    }
    if (v_material == CEILING) {
        vec2 f = fract(p / vec2(2.4, 3.6));
        float lamp = step(abs(f.x - 0.5), 0.12) * step(abs(f.y - 0.5), 0.3);
        glow = vec3(1.4) * lamp;
        colour *= 0.8 - 0.3 * step(min(fract(p.x / 0.6), fract(p.y / 0.6)), 0.03);
    }
    if (v_material == PLAIN) {
        colour *= 0.8 + 0.25 * large + 0.08 * fine;
        gloss = 0.15;
    }
    if (n.y > 0.9 && v_position.y < 0.2) colour *= 0.75 + 0.4 * noise2(v_position.xz * 0.2 + v_seed * 40.0);
    bool sky = v_material == SKY;
    vec3 lit = glow;
    if (!sky) lit += light_at(v_position, n, colour, gloss, 0.0);
    fragment = vec4(tone(lit, sky ? eye.xyz : v_position), 0.0);
}
