-- Redis's Lua: 5.1, and `redis` as the only name of the server.
stds.redis = { read_globals = { "redis" } }
std = "lua51+redis"
max_line_length = 120
