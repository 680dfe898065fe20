"""
An order over three services: stock, payments and shipping, with a saga between them.

Apart from the monolith, which does not install it. `docs/howto/act_across_services.md`
tells its story.
"""
