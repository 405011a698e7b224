"""The one file `feast apply` reads (see .feastignore): every definition, by name."""

from feature_repo.entities import content, user
from feature_repo.services import build_services
from feature_repo.views import build_views
from firstmile.settings import load_settings

_views = build_views(load_settings())

entity = user
content_entity = content
user_activity = _views.activity
user_profile = _views.profile
user_context = _views.context
user_audit = _views.audit
activity_windows = _views.windows
content_stats = _views.content
activation, disengagement, skill_level, preference = build_services(_views)
