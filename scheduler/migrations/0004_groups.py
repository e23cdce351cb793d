from django.db import migrations

from scheduler.admin.groups import create_groups


def create(apps, schema_editor):
    create_groups(apps)


class Migration(migrations.Migration):

    dependencies = [
        ('scheduler', '0003_generator_position'),
        ('auth', '0012_alter_user_first_name_max_length'),
        ('contenttypes', '0002_remove_content_type_name'),
    ]

    operations = [
        # Backwards they stay: by then people are in them.
        migrations.RunPython(create, migrations.RunPython.noop),
    ]
